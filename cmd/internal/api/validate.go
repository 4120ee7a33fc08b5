package api

import (
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// The bounds of a PortSpec.
const (
	// MaxName is the longest name of a port, in bytes.
	MaxName = 128
	// MaxIfName is the longest name of an interface, in bytes (IFNAMSIZ of
	// linux/if.h, less the zero byte).
	MaxIfName = 15
	// MaxVLAN is the highest VLAN identifier (IEEE 802.1Q: 4095 is reserved).
	MaxVLAN = 4094
	// MinMTU is the smallest MTU that IPv4 can live with (RFC 791), MinMTU6
	// the smallest for IPv6 (RFC 8200), both in bytes.
	MinMTU  = 68
	MinMTU6 = 1280
	// MaxMTU is the largest MTU that a TAP takes: 65535 less the Ethernet header.
	MaxMTU = 65521
	// MaxDepth is the most frames a queue holds.
	MaxDepth = 65536
	// MaxOwned is the most addresses and prefixes of one port together.
	MaxOwned = 1024
	// MaxPorts is the most ports of one NIC: 65,536 slots, without those of
	// the wire and the host.
	MaxPorts = 65534
)

// Validate checks all that can be checked without looking at the machine. The
// error is an *Error of CodeUsage that names the port.
func (p *PortSpec) Validate() error {
	if err := ValidateName(p.Name); err != nil {
		return err
	}
	for _, check := range []func() error{p.checkKind, p.checkMAC, p.checkVLAN,
		p.checkAddresses, p.checkPrefixes, p.checkGateways, p.checkSizes, p.checkPlace, p.checkMemif} {
		if err := check(); err != nil {
			return InPort(p.Name, err)
		}
	}
	return nil
}

// InPort says which port an error is about, if the name is known; its code and
// hint stay.
func InPort(name string, err error) error {
	e := AsError(err)
	if name == "" {
		return e
	}
	return &Error{Code: e.Code, Message: "port " + name + ": " + e.Message, Hint: e.Hint, cause: err}
}

func usage(hint, format string, args ...any) error {
	return Errorf(CodeUsage, format, args...).WithHint(hint)
}

// ValidateName checks the name of a port.
func ValidateName(name string) error {
	const hint = "use a letter or digit, then letters, digits and . _ : @ + -, at most 128"
	switch {
	case name == "":
		return usage(hint, "port: the name is missing")
	case len(name) > MaxName:
		return usage(hint, "port name %.20q…: %d bytes are too long", name, len(name))
	case !alphanumeric(name[0]):
		return usage(hint, "port name %q: it begins with neither letter nor digit", name)
	}
	for i := range len(name) {
		if !alphanumeric(name[i]) && !strings.ContainsRune("._:@+-", rune(name[i])) {
			return usage(hint, "port name %q: it may not hold %q", name, name[i:i+1])
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// ValidateIfName checks the name of an interface as the kernel does
// (dev_valid_name of net/core/dev.c), and refuses what a shell would trip over.
func ValidateIfName(name string) error {
	const hint = "use 1 to 15 printable characters without space, slash or colon"
	switch {
	case name == "":
		return usage(hint, "interface name: it is missing")
	case len(name) > MaxIfName:
		return usage(hint, "interface name %.20q: %d bytes are too long", name, len(name))
	case name == "." || name == "..":
		return usage(hint, "interface name %q: it names a directory", name)
	}
	if i := strings.IndexFunc(name, illegalInIfName); i >= 0 {
		return usage(hint, "interface name %q: it may not hold %q", name, name[i:i+1])
	}
	return nil
}

func illegalInIfName(r rune) bool {
	return r <= ' ' || r > '~' || r == '/' || r == ':' || r == '%'
}

func (p *PortSpec) checkKind() error {
	if p.Kind != "" && p.Kind != KindTAP && p.Kind != KindMemif {
		return usage("use tap or memif", "kind %q: there is no such kind of queue", p.Kind)
	}
	return nil
}

func (p *PortSpec) checkMAC() error {
	if p.MAC.IsMulticast() {
		return usage("give a unicast address, for example 02:00:00:00:00:01",
			"MAC address %v: it is a multicast address", p.MAC)
	}
	return nil
}

func (p *PortSpec) checkVLAN() error {
	if p.VLAN > MaxVLAN {
		return usage("give 1 to 4094, or leave it out for untagged frames", "VLAN %d: it is out of range", p.VLAN)
	}
	return nil
}

// checkPlace checks where the interface goes and how it is called.
func (p *PortSpec) checkPlace() error {
	if strings.ContainsAny(p.NetNS, "\x00\n") || len(p.NetNS) > 4096 || !utf8.ValidString(p.NetNS) {
		return usage("give a path, a PID or a name under /run/netns", "netns %.40q: this is no path", p.NetNS)
	}
	if strings.Contains(p.NetNS, "/") && p.NetNS[0] != '/' {
		return usage("give the whole path", "netns %.80q: a relative path means nothing to the daemon", p.NetNS)
	}
	if p.IfName != "" {
		return ValidateIfName(p.IfName)
	}
	if p.NetNS == "" && p.Kind != KindMemif {
		return usage("name the container's netns, or an interface name for the daemon's own",
			"interface: neither netns nor ifname is given")
	}
	return nil
}

func (p *PortSpec) checkSizes() error {
	if p.MTU != 0 && (p.MTU < MinMTU || p.MTU > MaxMTU) {
		return usage("give 68 to 65521, or leave it out for that of the NIC", "MTU %d: it is out of range", p.MTU)
	}
	if p.MTU != 0 && p.MTU < MinMTU6 && slices.ContainsFunc(p.Owned(), isV6) {
		return usage("IPv6 needs an MTU of at least 1280", "MTU %d: it is too small for IPv6", p.MTU)
	}
	if p.Depth < 0 || p.Depth > MaxDepth {
		return usage("give 1 to 65536, or leave it out", "depth %d: it is out of range", p.Depth)
	}
	return nil
}

func isV6(p netip.Prefix) bool { return p.Addr().Is6() }
