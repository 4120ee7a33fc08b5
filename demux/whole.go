package demux

import (
	"encoding/binary"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// leavesWhole tells whether a frame of port p leaves for the wire as it is: TCP of a
// port that sends super-frames. All of its TCP does, super-frame or not, so that a
// connection has one way and stays in order. A tag would have to be put on.
func (w *worker) leavesWhole(p *port, f *frame.Frame) bool {
	e := w.egress
	if e == nil || e.whole == nil || p.VLAN != 0 || p.lanes[w.id].flags&laneSuper == 0 || !isTCP(f.Data) {
		return false
	}
	if f.GSO == frame.GSONone {
		return e.whole.Offloads()&frame.OffloadChecksum != 0
	}
	need := superOffload(f.GSO)
	return e.whole.Offloads()&need == need && f.Flags&frame.NeedsChecksum != 0 // the kernel knows no other ones
}

// isTCP tells whether an untagged frame is TCP directly behind its IP header, which
// all frames of a connection are or none.
func isTCP(data []byte) bool {
	if len(data) < ethHeader+20 {
		return false
	}
	switch binary.BigEndian.Uint16(data[12:]) {
	case packet.EtherTypeIPv4:
		return data[ethHeader+9] == packet.ProtoTCP
	case packet.EtherTypeIPv6:
		return data[ethHeader+6] == packet.ProtoTCP
	}
	return false
}

// wholeToWire sends a frame as it is. It counts once as sent.
func (w *worker) wholeToWire(f *frame.Frame) {
	frames, length, header := 1, len(f.Data), 0
	switch s := &w.cut; {
	case f.GSO == frame.GSONone && f.Flags&frame.NeedsChecksum != 0 && !packet.PartialChecksum(f.Data, &f.Meta),
		f.GSO != frame.GSONone && !s.Init(f.Data, &f.Meta):
		w.drop(Malformed)
		return
	case f.GSO != frame.GSONone:
		frames, length, header = s.Count(), s.MaxLen(), s.HeaderLen()
		f.HdrLen = uint16(header) // the sender's may be anything
	}
	if uint32(length) > w.table.wireMax {
		w.tooBig(f, w.table.wireMax)
		return
	}
	if f.GSO != frame.GSONone && !w.mayCut() { // the kernel cuts, but in our time
		return
	}
	if !w.egress.whole.SendWhole(f) {
		w.drop(WireFull)
		return
	}
	w.tally.toWire++
	w.work += frames
	w.wholeFrames.add(uint64(frames))
	w.wholeBytes.add(uint64(len(f.Data) + (frames-1)*header))
}
