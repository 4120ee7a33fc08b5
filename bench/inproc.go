package main

import (
	"bytes"
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/inproc"
)

// openInproc delivers into queues of this program. Their other ends belong to one
// thread, which is what the consumer process is to the others.
func openInproc(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	o := s.orders(c)
	r := &inprocEnds{check: newChecker(s.t), mode: o.Mode}
	if o.Mode == modePass {
		r.out, r.want = passedFrames(s.t)
	}
	lanes := make([]demux.Lane, c.Containers)
	bells := make([]int, c.Containers)
	for i := range lanes {
		q, err := inproc.Open(inproc.Config{Slots: laneSlots(c.Containers), EventFD: o.Mode != modeRead})
		b.check(err)
		b.Cleanup(func() { q.Close() })
		lanes[i], bells[i] = q.Lane(0), q.Fd(0)
		r.ends = append(r.ends, q.Endpoint(0))
		useAllSlots(lanes[i], r.ends[i], laneSlots(c.Containers))
	}
	w := openSwitch(b, s, lanes, false)
	w.drive(b, s)
	for i, fd := range bells {
		if fd >= 0 {
			b.check(w.poll.add(fd, w.ids[i].Token(), edge))
		}
	}
	beside(s, o.CPU, r.run, r.stop)
	s.count = r.count
	return s
}

// useAllSlots fills a queue and empties it, both ways: the first use of a slot is a
// page fault, of which ten thousand containers have many.
func useAllSlots(l demux.Lane, e *inproc.Endpoint, slots int) {
	one := []frame.Frame{{Data: make([]byte, 60)}}
	room := []frame.Frame{{Data: make([]byte, inproc.DefaultMaxFrame)}}
	whole := func() []frame.Frame {
		room[0].Data = room[0].Data[:cap(room[0].Data)]
		return room
	}
	for range slots {
		l.Deliver(one)
		e.Write(one)
	}
	for range slots {
		e.Read(whole())
		l.Collect(whole(), 1<<20)
	}
}

// inprocEnds goes round all endpoints in turn and reads every byte.
type inprocEnds struct {
	ends        []*inproc.Endpoint
	owners      []int // whose end each is; nil: container i's is the i-th
	check       *checker
	mode        string
	out         [][][]byte // in modePass, what each container sends
	want        [][]byte   // in modePass, what each container gets
	frames, bad atomic.Uint64
	stopped     atomic.Bool
}

func (r *inprocEnds) run() error {
	defer r.stopped.Store(false) // at the end: stop may be called before this thread runs
	f := make([]frame.Frame, burst)
	room := make([]byte, len(f)*inproc.DefaultMaxFrame)
	send := make([]frame.Frame, sendBatch)
	for !r.stopped.Load() {
		for i, e := range r.ends {
			if r.owners != nil {
				i = r.owners[i]
			}
			if r.out != nil {
				for j, data := range r.out[i] {
					send[j].Data = data
				}
				e.Write(send)
			}
			for r.read(i, e, f, room) == len(f) {
			}
		}
		yield()
	}
	return nil
}

func (r *inprocEnds) read(i int, e *inproc.Endpoint, f []frame.Frame, room []byte) int {
	for j := range f {
		f[j].Data = room[j*inproc.DefaultMaxFrame:][:inproc.DefaultMaxFrame]
	}
	n := e.Read(f)
	good, back := uint64(0), 0
	for j := range n {
		data := f[j].Data
		if r.want != nil && bytes.Equal(data, r.want[i]) || r.want == nil && r.check.frame(i, data) {
			good++
		}
		if goesBack(r.mode, len(data)) {
			reflect(data)
			f[back].Data = data
			back++
		}
	}
	if back > 0 {
		e.Write(f[:back])
	}
	if n > 0 {
		r.frames.Add(good)
		r.bad.Add(uint64(n) - good)
	}
	return n
}

func (r *inprocEnds) stop() { r.stopped.Store(true) }

func (r *inprocEnds) count() (arrivals, error) {
	return arrivals{r.frames.Load(), r.bad.Load()}, nil
}
