package demux

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// macMask keeps the six bytes of a MAC in a little-endian word.
const macMask = 1<<48 - 1

// macOf is the MAC as a number: its six bytes, little-endian.
func macOf(m [6]byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(m[:])) | uint64(binary.LittleEndian.Uint16(m[4:]))<<32
}

// macBytes is the inverse of macOf.
func macBytes(m uint64) (b [6]byte) {
	putMAC(b[:], m)
	return b
}

// macAt reads the MAC at the start of b, which holds at least 8 bytes.
func macAt(b []byte) uint64 { return binary.LittleEndian.Uint64(b) & macMask }

// putMAC writes m over the first six bytes of b.
func putMAC(b []byte, m uint64) {
	binary.LittleEndian.PutUint32(b, uint32(m))
	binary.LittleEndian.PutUint16(b[4:], uint16(m>>32))
}

// multicast tells whether the MAC is a group address, broadcast included.
func multicast(m uint64) bool { return m&1 != 0 }

// The keys of the exact tables: (VLAN, MAC) and (VLAN, IPv4) fit one word.
func macKey(vlan uint16, mac uint64) uint64 { return uint64(vlan)<<48 | mac }
func key4(vlan uint16, ip uint32) uint64    { return uint64(vlan)<<32 | uint64(ip) }

// key6 is (VLAN, IPv6): the address as two big-endian numbers.
type key6 struct {
	hi, lo uint64
	vlan   uint16
}

func key6Of(vlan uint16, b *[16]byte) key6 {
	return key6{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), vlan}
}

func (k key6) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.hi)
	binary.BigEndian.PutUint64(b[8:], k.lo)
	return netip.AddrFrom16(b)
}

func number4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr4(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

// hash64 mixes by one wide multiplication. The operator alone decides what is
// stored, hence no secret: a hostile frame can only look keys up.
func hash64(k uint64) uint64 {
	hi, lo := bits.Mul64(k^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}

func hash6(k key6) uint64 {
	hi, lo := bits.Mul64(k.hi^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93^uint64(k.vlan)<<1)
	return hash64(hi ^ lo ^ k.lo)
}
