package xdp

import (
	"errors"
	"reflect"
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// What a socket has counted survives it: frames that it lost, and frames that
// stood in its ring when it went, whatever way it went. So what the program
// redirected is accounted for over any number of sockets.
func TestStatsSurviveTheSocket(t *testing.T) {
	for name, end := range map[string]func(*Program, *Socket) error{
		"closed": func(p *Program, s *Socket) error {
			return oneLine(p.ClearSocket(0), s.Close())
		},
		"seized": func(p *Program, s *Socket) error { return p.Rescue(s) },
		"seized, then closed": func(p *Program, s *Socket) error {
			return oneLine(p.Rescue(s), s.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigConfig{})
			p := r.program(ModeNative, exactRule(RuleIPIdentity, 0, "10.0.0.2"))
			var sum SocketStats
			const rounds, sent, chunks = 3, 200, 64
			for range rounds {
				s := r.socket(p, SocketConfig{Frames: 2 * chunks})
				for range sent {
					r.send(udp4(r.mac, "10.0.0.2"))
				}
				eventually(t, "all frames to be redirected or dropped", func() bool {
					st, err := s.Stats()
					return err == nil && st.RxDropped == sent-chunks
				})
				s.Recv(make([]frame.Frame, 10)) // held when the end comes
				if err := end(p, s); err != nil {
					t.Fatal(err)
				}
				st, err := s.Stats()
				if !errors.Is(err, ErrClosed) || st.Received != 10 || st.Unread != chunks-10 || st.RxDropped != sent-chunks {
					t.Fatalf("%+v, %v", st, err)
				}
				sum.Add(st)
			}
			c, err := p.Counters()
			if err != nil {
				t.Fatal(err)
			}
			if n := sum.Received + sum.BadFrames + sum.Unread + sum.Drops(); c.Redirected() != rounds*sent || n != c.Redirected() {
				t.Errorf("%d redirected, %d accounted for: %+v", c.Redirected(), n, sum)
			}
		})
	}
}

// Add forgets no counter.
func TestStatsAdd(t *testing.T) {
	var one, sum SocketStats
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		v.Field(i).SetUint(uint64(i + 1))
	}
	sum.Add(one)
	sum.Add(one)
	v = reflect.ValueOf(sum)
	for i := range v.NumField() {
		if v.Field(i).Uint() != uint64(2*(i+1)) {
			t.Errorf("%s is %d", v.Type().Field(i).Name, v.Field(i).Uint())
		}
	}
}
