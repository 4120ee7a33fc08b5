package demux

import "github.com/xdpdemux/xdpdemux/demux/frame"

// batch is how many frames are looked at together: one Recv, one Collect.
const batch = 64

// group is the frames of one batch for one port.
type group struct {
	to    *laneSlot
	slot  uint32
	count uint8
	at    uint8 // where its next frame goes in the sorted batch
	super bool  // holds super-frames that the lane does not take whole
}

// grouper sorts a batch by port, in time linear in the batch and without
// clearing: an entry of its small hash table counts only if it bears the
// batch's stamp.
type grouper struct {
	stamp  uint64 // upper half: the batch
	n      uint8  // groups
	placed int    // frames in groups
	last   uint8  // the group found last; frames come in runs
	of     [batch]uint8
	groups [batch + 1]group // from 1; 0 means that a frame is in none
	keys   [256]uint64
	vals   [256]uint8
	sorted [batch]frame.Frame
}

// reset begins a new batch.
func (g *grouper) reset() {
	g.stamp += 1 << 32
	g.n, g.placed, g.last = 0, 0, 0
	g.of = [batch]uint8{}
}

// find returns the group of slot, or nil.
func (g *grouper) find(slot uint32) *group {
	if p := &g.groups[g.last]; g.last != 0 && p.slot == slot {
		return p
	}
	key := g.stamp | uint64(slot)
	for i := uint8(slot * 0x9E3779B1 >> 24); ; i++ {
		switch k := g.keys[i]; {
		case k == key:
			g.last = g.vals[i]
			return &g.groups[g.last]
		case k < g.stamp:
			return nil
		}
	}
}

// open makes the group of slot, which has none yet.
func (g *grouper) open(slot uint32, to *laneSlot) *group {
	i := uint8(slot * 0x9E3779B1 >> 24)
	for g.keys[i] >= g.stamp {
		i++
	}
	g.n++
	g.last = g.n
	g.keys[i], g.vals[i] = g.stamp|uint64(slot), g.n
	p := &g.groups[g.n]
	*p = group{to: to, slot: slot}
	return p
}

// put says that frame i of the batch is in the group found or opened last.
func (g *grouper) put(i int, p *group) {
	g.of[i] = g.last
	p.count++
	g.placed++
}

// sort copies the frames that are in a group into g.sorted, group by group in
// order of appearance and each in order of arrival.
func (g *grouper) sort(f []frame.Frame) {
	at := uint8(0)
	for i := uint8(1); i <= g.n; i++ {
		g.groups[i].at = at
		at += g.groups[i].count
	}
	for i := range f {
		if o := g.of[i]; o != 0 {
			p := &g.groups[o]
			g.sorted[p.at] = f[i]
			p.at++
		}
	}
}

// frames are the frames of group p after sort.
func (g *grouper) frames(p *group) []frame.Frame { return g.sorted[p.at-p.count : p.at] }
