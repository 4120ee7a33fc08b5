package demux

import (
	"encoding/binary"
	"slices"

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
// malformed, or bear a tag or a hint.
func plainIPv4(f *frame.Frame, nic uint64) uint32 {
	b := f.Data
	if !isPlain(b) || macAt(b) != nic || f.Hint != 0 || f.VLAN != 0 {
		return 0
	}
	return binary.BigEndian.Uint32(b[30:])
}

// isPlain tells whether an untagged IPv4 packet without options stands in b, well
// formed as far as ParseFast looks.
func isPlain(b []byte) bool {
	const minimum = 20 // bytes of an IPv4 header
	if len(b) < ethHeader+minimum || binary.LittleEndian.Uint32(b[12:])&0xffffff != 0x450008 {
		return false
	}
	total := int(binary.BigEndian.Uint16(b[16:]))
	return total >= minimum && total <= len(b)-ethHeader
}

// way is where plain frames of a port to a MAC that is nobody's here leave to: the
// wire, if the MAC is not that of a next hop or the destination no address of
// ours. It is found out for the first frame of a batch and holds for those after it.
type way struct {
	dst uint64 // noMAC: not known
	hop bool   // or a former MAC of the NIC
}

// viaWire, in place of a slot, says that a frame leaves by the wire.
const viaWire = 1 << 31

// lookFrom is lookAt for a batch that port p sent. Plain is what an IP identity
// sends from its own MAC and first address; whatever takes a closer look goes the
// long way, which says the same of every frame.
func (w *worker) lookFrom(p *port, f []frame.Frame) {
	q, t := &w.plain, w.table
	if p.id.Slot < FirstSlot || p.first4 == 0 || !p.ipIdentity() {
		clear(q.slot[:len(f)])
		return
	}
	w.way.dst = noMAC
	for i := range f {
		q.addr[i], q.slot[i] = w.glance(p, f[i].Data)
	}
	for i := range f {
		if q.addr[i] == 0 {
			continue
		}
		v := t.owner4(p.VLAN, q.addr[i])
		switch via := q.slot[i]; {
		case via == viaWire && v != 0, via == 0 && (v-FirstSlot > MaxSlot-FirstSlot || v == p.id.Slot):
			q.slot[i] = 0
		case via == 0:
			q.slot[i] = v
		}
	}
	for i := range f {
		if v := q.slot[i]; v-FirstSlot <= MaxSlot-FirstSlot {
			q.seen += w.lanes.at(v).maxLen
		}
	}
}

// glance looks at one frame of p: the address whose owner decides, if one does, and
// viaWire if the wire is where it goes unless that is one of ours.
func (w *worker) glance(p *port, b []byte) (addr, via uint32) {
	if !isPlain(b) || macAt(b[6:]) != w.table.nic || binary.BigEndian.Uint32(b[26:]) != p.first4 {
		return 0, 0
	}
	dst := macAt(b)
	if dst == w.table.nic {
		return binary.BigEndian.Uint32(b[30:]), 0
	}
	if dst != w.way.dst && !w.findWay(p, dst) {
		return 0, 0
	}
	if w.way.hop {
		addr = binary.BigEndian.Uint32(b[30:])
	}
	return addr, viaWire
}

// findWay tells whether a plain frame of p to that MAC leaves by the wire, perhaps.
func (w *worker) findWay(p *port, dst uint64) bool {
	if multicast(dst) || w.table.byMAC(p.VLAN, dst) != 0 {
		return false
	}
	w.way = way{dst: dst, hop: p.sendsVia(dst) || slices.Contains(w.table.former, dst)}
	return true
}

// verdictOf is what a slot of plain says about a frame.
func verdictOf(slot uint32) verdict {
	if slot == viaWire {
		return verdict{act: actWire}
	}
	return toPort(slot)
}

// placePlain is what is left to do with a plain frame.
func (w *worker) placePlain(i int, f *frame.Frame, slot uint32) {
	if w.table.unfinished && packet.LooksUnfinished(f.Data) && packet.ParseFast(f.Data, &w.head) {
		packet.MarkUnfinished(f.Data, &w.head, &f.Meta)
	}
	w.head.Dst = [6]byte(f.Data) // tooBig asks for it
	w.place(i, f, slot)
}
