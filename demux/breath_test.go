package demux

import (
	"fmt"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/demuxtest"
)

// TestDoorbellsAreLookedAt: a worker that never comes to rest looks at the
// doorbells every 16 breaths, and after the work of about 50 µs at the latest.
func TestDoorbellsAreLookedAt(t *testing.T) {
	w := stepped(t).sw.workers[0]
	for _, c := range []struct{ frames, breaths int }{{0, 16}, {1, 16}, {31, 16}, {100, 5}, {256, 2}, {500, 1}, {5000, 1}} {
		w.chores(0)
		n := 1
		for !w.due(c.frames) {
			n++
		}
		if n != c.breaths {
			t.Errorf("with %d frames in each breath it looks after %d breaths, want %d", c.frames, n, c.breaths)
		}
	}
}

// TestBreathIsBounded: containers that have more than a breath may take do not
// keep the worker from its links.
func TestBreathIsBounded(t *testing.T) {
	r := stepped(t)
	var ports []*testPort
	for i := range 10 {
		ports = append(ports, r.port(PortConfig{Name: fmt.Sprint(i)}, benchAddr(10+i).String()))
	}
	r.settle()
	for i, p := range ports {
		for range 2 * batch {
			p.lanes[0].Send(udp(nicMAC, peerMAC, benchAddr(10+i), far4, 1))
		}
		r.sw.workers[0].activate(p.id.Token())
	}
	if n := r.sw.workers[0].breath(); n < maxCollect || n >= maxCollect+batch {
		t.Errorf("one breath took %d frames from the lanes", n)
	}
	r.settle()
	if n := len(r.links[0].Sent()); n != 10*2*batch {
		t.Errorf("%d frames were sent in the end", n)
	}
	for _, p := range ports {
		if st, _ := r.sw.PortStats(p.id); st.Tx.ToWire != 2*batch {
			t.Errorf("port %s: %+v", p.name, st.Tx)
		}
	}
}

// TestSeveralLinks is a worker with several links: it serves all of them, a
// port's frames leave by one, always the same, and answers by the one that the
// question came from.
func TestSeveralLinks(t *testing.T) {
	r := stepped(t)
	links := []*demuxtest.Link{r.links[0], demuxtest.NewLink(t, r.waits[0].Wake), demuxtest.NewLink(t, r.waits[0].Wake)}
	r.reopen(links[0], links[1], links[2])
	var ports []*testPort
	for i := range 6 {
		ports = append(ports, r.port(PortConfig{Name: fmt.Sprint(i)}, benchAddr(10+i).String()))
	}
	r.settle()
	for round := range 20 {
		for i, p := range ports {
			in := udp(peerMAC, nicMAC, far4, benchAddr(10+i), round)
			links[(i+round)%3].Arrive(in)
			p.send(udp(nicMAC, peerMAC, benchAddr(10+i), far4, round))
			r.sw.workers[0].activate(p.id.Token())
			r.sw.workers[0].breath()
			wantFrames(t, p.name, p.got(), in)
		}
	}
	way := map[byte]int{}
	for i, l := range links {
		sent := l.Sent()
		if len(sent) != 40 {
			t.Errorf("link %d sent %d frames, want those of two ports", i, len(sent))
		}
		for _, f := range sent {
			if before, ok := way[f[29]]; ok && before != i {
				t.Fatalf("frames of one port left by links %d and %d", before, i)
			}
			way[f[29]] = i
		}
	}
	for i, l := range links {
		l.Arrive(whoHas(peerMAC, "10.0.0.99", benchAddr(10).String()))
		r.settle()
		for j, other := range links {
			if n := len(other.Sent()); (n == 1) != (i == j) || n > 1 {
				t.Errorf("asked on link %d, link %d sent %d answers", i, j, n)
			}
		}
	}
}
