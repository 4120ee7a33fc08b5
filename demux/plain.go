package demux

import (
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// plain is where the plain frames of a batch from the wire go. Nearly every
// frame of most wires is plain: an untagged IPv4 packet without options, to the
// NIC's MAC and an address that one IP identity owns. Whatever is not goes the
// long way, one frame after the other.
type plain struct {
	addr [batch]uint32
	slot [batch]uint32 // 0: not plain
	seen uint32        // keeps the compiler from leaving out a look ahead
}

// lookAt finds the plain frames of a batch. It takes one step for all frames
// before the next one, so that a worker with thousands of ports waits for memory
// that many frames need side by side, not for each in turn: the headers, then
// the table, then the ports.
func (p *plain) lookAt(t *Table, lanes *laneTable, f []frame.Frame) {
	for i := range f {
		p.addr[i] = plainIPv4(&f[i], t.nic)
	}
	for i := range f {
		p.slot[i] = 0
		if p.addr[i] != 0 {
			k := key4(0, p.addr[i])
			p.slot[i] = t.v4.get(hash64(k), k)
		}
	}
	for i := range f {
		v := p.slot[i]
		if v-FirstSlot > MaxSlot-FirstSlot { // nobody's, the host's, or of a MAC identity
			p.slot[i] = 0
			continue
		}
		p.seen += lanes.at(v).maxLen
	}
}

// plainIPv4 is the destination of a plain frame and 0 of any other, be it
// malformed, for a loopback, or bear a tag or a hint.
func plainIPv4(f *frame.Frame, nic uint64) uint32 {
	const minimum = 20 // bytes of an IPv4 header
	b := f.Data
	if len(b) < ethHeader+minimum || f.Hint != 0 || f.VLAN != 0 {
		return 0
	}
	b = b[:ethHeader+minimum]
	total := int(binary.BigEndian.Uint16(b[16:]))
	if macAt(b) != nic || binary.LittleEndian.Uint32(b[12:])&0xffffff != 0x450008 || total < minimum || total > len(f.Data)-ethHeader || b[26] == 127 || b[30] == 127 {
		return 0
	}
	return binary.BigEndian.Uint32(b[30:])
}

// placePlain is what is left to do with a plain frame.
func (w *worker) placePlain(i int, f *frame.Frame, slot uint32) {
	if w.table.unfinished && packet.LooksUnfinished(f.Data) && packet.ParseFast(f.Data, &w.head) {
		packet.MarkUnfinished(f.Data, &w.head, &f.Meta)
	}
	w.place(i, f, slot)
}
