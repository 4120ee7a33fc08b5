package main

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// meter measures what a worker costs for each frame while it has frames: the
// time from the Recv that yields some to the next Recv. Time in which another
// thread had the processor is taken off by the thread's own clock, which is
// asked once in a period: up to 64 such breaths, and never over a sleep.
//
// breath, pause and resume belong to the worker; reading may be done by anybody.
type meter struct {
	began   time.Time
	last    time.Duration // when the last breath began
	frames  int           // that it had
	breaths int           // with frames, in this period
	busy    time.Duration // of them
	open    period

	total   atomic.Int64 // nanoseconds of busy breaths, less what others took
	carried atomic.Int64 // frames in them
	sum     int64        // frames in this period
}

// period is where both clocks stood at its beginning.
type period struct{ wall, cpu time.Duration }

const periodBreaths = 64

func newMeter() *meter { return &meter{began: time.Now()} }

func (m *meter) now() time.Duration { return time.Since(m.began) }

// breath ends the previous breath and begins the next; call it before Recv.
func (m *meter) breath() {
	now := m.now()
	if m.frames > 0 {
		m.busy += now - m.last
		m.sum += int64(m.frames)
		m.frames = 0
		if m.breaths++; m.breaths == periodBreaths {
			m.close(now)
			m.resume()
			now = m.last
		}
	}
	m.last = now
}

// took says how many frames Recv yielded.
func (m *meter) took(n int) { m.frames = n }

// pause ends the period: the worker is about to sleep or to let others run.
func (m *meter) pause() {
	if m.breaths > 0 || m.frames > 0 {
		m.breath()
		m.close(m.now())
	}
}

// resume begins a period.
func (m *meter) resume() {
	m.open = period{m.now(), threadTime()}
	m.last, m.frames = m.now(), 0
}

func (m *meter) close(now time.Duration) {
	wall, cpu := now-m.open.wall, threadTime()-m.open.cpu
	m.total.Add(int64(ownShare(m.busy, wall, cpu)))
	m.carried.Add(m.sum)
	m.busy, m.breaths, m.sum = 0, 0, 0
}

// ownShare takes off what other threads had of the processor. They took it from
// busy and from empty breaths alike.
func ownShare(busy, wall, cpu time.Duration) time.Duration {
	if wall <= 0 || cpu >= wall {
		return busy
	}
	return time.Duration(float64(busy) * float64(cpu) / float64(wall))
}

// reading is what a meter stood at.
type reading struct{ nanos, frames int64 }

func (m *meter) read() reading { return reading{m.total.Load(), m.carried.Load()} }

// perFrame is in nanoseconds since an earlier reading; 0 without frames.
func (r reading) perFrame(before reading) float64 {
	if r.frames == before.frames {
		return 0
	}
	return float64(r.nanos-before.nanos) / float64(r.frames-before.frames)
}

func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// metered is a link under a meter.
type metered struct {
	demux.Link
	*meter
}

// Recv is described at demux.Link.
func (l metered) Recv(f []frame.Frame) int {
	l.breath()
	n := l.Link.Recv(f)
	l.took(n)
	return n
}

// polite is a Waiter that never sleeps but lets the consumer run whenever there
// is nothing to do.
type polite struct{ *meter }

// Wait is described at demux.Waiter.
func (p polite) Wait(_ []uint32, timeout time.Duration) int {
	if timeout != 0 {
		p.pause()
		yield()
		p.resume()
	}
	return 0
}

// Wake does nothing: nobody sleeps.
func (polite) Wake() {}
