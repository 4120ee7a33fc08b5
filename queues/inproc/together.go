package inproc

import "github.com/xdpdemux/xdpdemux/demux/frame"

// DeliverAll is described at demux.Courier. It looks at what Deliver will need of
// every lane before it delivers to the first: the lanes, their rings' indices, the
// next slots; so that a processor waits for the memory of many lanes side by side.
func (l *Lane) DeliverAll(d []frame.Delivery) {
	for i := range d {
		to := lane(&d[i])
		l.seen += to.toProgram.mask
		if to.program.armed.Load() {
			l.seen++
		}
	}
	for i := range d {
		r := lane(&d[i]).toProgram
		l.seen += r.tail.Load() + r.head.Load()
		if r.gone.Load() {
			l.seen++
		}
	}
	for i := range d {
		r := lane(&d[i]).toProgram
		r.rewind()
		l.seen += uint64(r.cell(r.tail.Load())[0])
	}
	for i := range d {
		d[i].Taken, d[i].Why = lane(&d[i]).Deliver(d[i].Frames)
	}
}

func lane(d *frame.Delivery) *Lane { return d.Lane.(*Lane) }
