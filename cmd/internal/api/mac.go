package api

import (
	"fmt"
	"net"
)

// MAC is an Ethernet address. Its text form is six pairs of hexadecimal digits
// with colons, "02:00:00:00:00:01". The zero value means none.
type MAC [6]byte

// ParseMAC reads an Ethernet address in any form of net.ParseMAC that has 48 bits.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, Errorf(CodeUsage, "MAC address %q: not six pairs of hexadecimal digits", s).
			WithHint("write it as 02:00:00:00:00:01")
	}
	return MAC(hw), nil
}

// String is the text form; "" for the zero value.
func (m MAC) String() string {
	if m.IsZero() {
		return ""
	}
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// IsZero says that there is no address.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast says that the group bit is set, as it is in broadcast as well.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// MarshalText makes the text form the JSON form.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the text form; "" is the zero value.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(string(b))
	if err == nil {
		*m = v
	}
	return err
}
