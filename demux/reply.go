package demux

import (
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/demux/internal/packet"
)

// Answers are built into buffers of answerRoom bytes, one for each frame of a
// batch; ICMP errors into errorRoom, at most maxErrors in a batch.
const (
	answerRoom = 128
	errorRoom  = 1408
	maxErrors  = 8
)

// replies is what the switch itself says to the source of the batch in work.
type replies struct {
	answers [batch]frame.Frame
	errors  [maxErrors]frame.Frame
	na, ne  int
	data    []byte // the answers' buffers, then the errors'

	wire     bucket // of errors to the wire
	now      int64  // when the buckets were looked at last
	full     int64  // when all of them will be full
	spent    bool   // from a bucket, since then
	spending bool   // they may not all be full
}

func (r *replies) init() {
	r.data = make([]byte, batch*answerRoom+maxErrors*errorRoom)
}

func (r *replies) answerBuffer() []byte {
	at := r.na * answerRoom
	return r.data[at : at+answerRoom : at+answerRoom]
}

func (r *replies) errorBuffer() []byte {
	at := batch*answerRoom + r.ne*errorRoom
	return r.data[at : at+errorRoom : at+errorRoom]
}

// answer answers the ARP request or neighbour solicitation in w.head: its
// target has that MAC. The asker is answered at the end of the batch.
func (w *worker) answer(f *frame.Frame, mac uint64) {
	r := &w.replies
	var data []byte
	if w.head.Kind == packet.KindARP {
		data = packet.BuildARPReply(r.answerBuffer(), &w.head, macBytes(mac), w.head.DstIP4)
	} else {
		data = packet.BuildNA(r.answerBuffer(), &w.head, macBytes(mac), false)
	}
	if data == nil {
		w.drop(Malformed)
		return
	}
	r.answers[r.na] = frame.Frame{Data: data, Meta: frame.Meta{VLAN: f.VLAN}}
	r.na++
}

// repliesToPort delivers the replies to the port that the batch came from.
func (w *worker) repliesToPort(l *laneSlot) {
	r := &w.replies
	if r.na > 0 {
		w.mode = modeAnswer
		w.deliver(l, r.answers[:r.na])
	}
	if r.ne > 0 {
		w.mode = modeError
		w.deliver(l, r.errors[:r.ne])
	}
	r.na, r.ne = 0, 0
}

// repliesToWire sends the replies by the link that the batch came from.
func (w *worker) repliesToWire() {
	r := &w.replies
	for i := range r.na {
		if w.sendBuilt(&r.answers[i]) {
			w.tally.answered++
		} else {
			w.drop(WireFull)
		}
	}
	for i := range r.ne {
		w.sendBuilt(&r.errors[i])
	}
	r.na, r.ne = 0, 0
}

func (w *worker) sendBuilt(f *frame.Frame) bool {
	s := w.sw.wire.sheets[w.id]
	buf := w.egress.spare(w)
	if buf == nil {
		s.builtLost.add(1)
		return false
	}
	n := copy(buf[vlanTag:], f.Data)
	w.egress.send(tagged(buf, n, f.VLAN))
	s.built.add(1)
	return true
}
