package demux

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// Table is one snapshot of who owns what. It never changes once a worker can
// see it; an edit makes a new one that shares the untouched pages.
//
// The precedence of its stages: (VLAN, MAC) exact, (VLAN, IP) exact, (VLAN,
// prefix) longest match, then the wire or the host.
type Table struct {
	version uint64   // of the edit that made this snapshot; grows
	nic     uint64   // the NIC's MAC
	former  []uint64 // those it had before, the last one first
	gateway uint64   // the MAC that the host knows its containers by
	wireMax uint32   // largest untagged frame that the NIC sends, in bytes
	// unfinished: frames from the wire may have unfinished checksums.
	unfinished bool
	macs       hashmap[uint64]
	v4         hashmap[uint64]
	v6         hashmap[key6]
	prefixes   *prefixSet // nil while no port has a prefix
	hops4      hashmap[uint64]
	hops6      hashmap[key6]
	lanes      []laneTable // per worker
	mail       []mailRow   // per worker that sends; nil until a port needs it
}

// laneSlot is what one worker needs to know of one slot to deliver to it: one
// cache line. A slot that is free has no port.
type laneSlot struct {
	lane     Lane // nil: the queue has no ring for this worker
	st       *laneState
	p        *port
	sheet    *sheet // this worker's, of the port
	maxLen   uint32 // p.maxLen
	maxFrame uint32 // lane.MaxFrame()
	offloads frame.Offload
	flags    uint8
	owner    uint8 // the worker whose lane serves this one
	kind     uint8 // of a Courier: its type; 0: none
	_        [12]byte
}

// The bits of laneSlot.flags.
const (
	laneForeign = 1 << iota // Deliver is charged
	laneRemote              // another worker's lane: frames go by mailbox
	laneSuper               // takes and yields super-frames
	laneSpecial = laneForeign | laneRemote
)

// lanePage is aligned by its size class, hence the entries stand first.
type lanePage struct {
	e    [pageSlots]laneSlot
	edit uint64
}

type laneTable struct {
	pages []*lanePage
	edit  uint64
}

// at returns the slot, which lies within the table.
func (l *laneTable) at(slot uint32) *laneSlot { return &l.pages[slot/pageSlots].e[slot%pageSlots] }

// find returns the slot if a port has it, or nil.
func (l *laneTable) find(slot uint32) *laneSlot {
	if int(slot/pageSlots) >= len(l.pages) {
		return nil
	}
	if s := l.at(slot); s.p != nil {
		return s
	}
	return nil
}

// own returns the slot in a page that this edit may change.
func (l *laneTable) own(slot uint32, edit uint64) *laneSlot {
	if l.edit != edit {
		l.pages, l.edit = append([]*lanePage(nil), l.pages...), edit
	}
	i := int(slot / pageSlots)
	for len(l.pages) <= i {
		l.pages = append(l.pages, &lanePage{edit: edit})
	}
	if l.pages[i].edit != edit {
		p := *l.pages[i]
		p.edit = edit
		l.pages[i] = &p
	}
	return l.at(slot)
}

// prefixSet holds a longest-match table per VLAN.
type prefixSet struct {
	edit uint64
	n    int
	vlan [4096]*bart.Fast[uint32]
}

func (s *prefixSet) find(vlan uint16, ip netip.Addr) uint32 {
	t := s.vlan[vlan%4096]
	if t == nil {
		return 0
	}
	v, _ := t.Lookup(ip)
	return v
}

func newTable(workers int) *Table {
	return &Table{
		nic: noMAC, gateway: noMAC, wireMax: 1500 + ethHeader,
		macs:  newHashmap(hash64, 1, 0),
		v4:    newHashmap(hash64, 1, 0),
		v6:    newHashmap(hash6, 1, 0),
		hops4: newHashmap(hash64, 1, 0),
		hops6: newHashmap(hash6, 1, 0),
		lanes: make([]laneTable, workers),
	}
}

// formerMACs is how many of the NIC's former MACs are remembered.
const formerMACs = 4

// setNIC gives the NIC another MAC. Whoever sent to an IP identity by the old
// one may remember it for a while: a neighbour cache that the traffic itself
// confirms is not asked again.
func (t *Table) setNIC(mac uint64) {
	if t.nic == mac {
		return
	}
	former := make([]uint64, 0, formerMACs+1)
	if t.nic != noMAC {
		former = append(former, t.nic)
	}
	for _, m := range t.former {
		if m != mac && m != t.nic && len(former) < formerMACs {
			former = append(former, m)
		}
	}
	t.nic, t.former = mac, former
}

// noMAC is no frame's address: it has more than 48 bits.
const noMAC = ^uint64(0)

// byMAC returns the value of (VLAN, MAC): 0, or a slot.
func (t *Table) byMAC(vlan uint16, mac uint64) uint32 {
	k := macKey(vlan, mac)
	return t.macs.get(hash64(k), k)
}

// owner4 returns the value of the longest rule for (VLAN, IPv4), or 0.
func (t *Table) owner4(vlan uint16, ip uint32) uint32 {
	k := key4(vlan, ip)
	if v := t.v4.get(hash64(k), k); v != 0 || t.prefixes == nil {
		return v
	}
	return t.prefixes.find(vlan, addr4(ip))
}

// owner6 is owner4 for IPv6.
func (t *Table) owner6(vlan uint16, ip *[16]byte) uint32 {
	k := key6Of(vlan, ip)
	if v := t.v6.get(hash6(k), k); v != 0 || t.prefixes == nil {
		return v
	}
	return t.prefixes.find(vlan, k.addr())
}

// isHop4 and isHop6 tell whether a port uses that address as next hop.
func (t *Table) isHop4(vlan uint16, ip uint32) bool {
	k := key4(vlan, ip)
	return t.hops4.get(hash64(k), k) != 0
}

func (t *Table) isHop6(vlan uint16, ip *[16]byte) bool {
	k := key6Of(vlan, ip)
	return t.hops6.get(hash6(k), k) != 0
}

// macFor is the MAC by which others reach the port.
func (t *Table) macFor(p *port) uint64 {
	if p.ipIdentity() {
		return t.nic
	}
	return p.mac
}
