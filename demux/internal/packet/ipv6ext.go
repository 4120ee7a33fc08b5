package packet

import "encoding/binary"

// The extension headers that receivers step over (RFC 8200, section 4; RFC
// 4302). The others of the IANA list (ESP, mobility, HIP, shim6) end the chain
// for a receiver that does not speak them, and here too.
const (
	extHopByHop = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extDestOpts = 60
)

// maxExtensions is how many extension headers are followed. RFC 8200 lists six
// and lets destination options stand twice.
const maxExtensions = 8

func isExtension(next uint8) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAuth, extDestOpts:
		return true
	}
	return false
}

// chain is where the extension headers of a packet lead.
type chain struct {
	proto  uint8 // the upper protocol, or the next header at which the walk stopped
	at     int   // its offset from the fixed header; 0 = not reached
	frag   bool  // there is a fragment header
	later  bool  // its offset is not 0: the upper header is in another fragment
	routed bool  // a routing header has segments left
}

// walk follows the chain of b, which is one IPv6 packet from its fixed header to
// the end of its payload.
func walk(b []byte) (c chain) {
	c.proto = b[6]
	at := ipv6Len
	for range maxExtensions {
		if !isExtension(c.proto) {
			c.at = at
			return c
		}
		n := c.step(b[at:])
		if n == 0 {
			return c
		}
		at += n
	}
	if !isExtension(c.proto) {
		c.at = at
	}
	return c
}

// step notes the extension header of type c.proto at the start of b and returns
// its length, or 0 where the chain ends here without an upper protocol.
func (c *chain) step(b []byte) int {
	if len(b) < 8 {
		return 0
	}
	n := extensionLen(c.proto, b[1])
	if n > len(b) {
		return 0
	}
	switch c.proto {
	case extFragment:
		c.frag = true
		c.later = c.later || binary.BigEndian.Uint16(b[2:4])&0xfff8 != 0
	case extRouting:
		c.routed = c.routed || b[3] != 0
	}
	c.proto = b[0]
	if c.later {
		return 0
	}
	return n
}

// extensionLen is the length in bytes of an extension header whose second byte
// is size.
func extensionLen(proto, size uint8) int {
	switch proto {
	case extFragment: // the byte is reserved
		return 8
	case extAuth: // in units of 4 bytes, less 2 (RFC 4302, section 2.2)
		return (int(size) + 2) * 4
	default: // in units of 8 bytes, less 1
		return (int(size) + 1) * 8
	}
}
