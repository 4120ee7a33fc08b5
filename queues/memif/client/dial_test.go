package client_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

func TestDialTellsWhatWasAgreed(t *testing.T) {
	c, p := connect(t, client.Config{ID: 7, Secret: "s3cret", Name: "tester", Rings: 3, RingSize: 8, BufferSize: 100})
	want := wire.Init{Version: wire.Version, ID: 7, Secret: "s3cret", Name: "tester"}
	if p.init != want {
		t.Errorf("the server heard %+v, want %+v", p.init, want)
	}
	if len(p.c2s) != 3 || len(p.s2c) != 3 || c.Rings() != 3 {
		t.Errorf("%d and %d rings, the client has %d", len(p.c2s), len(p.s2c), c.Rings())
	}
	if c.RingSize() != 8 || c.BufferSize() != 100 || c.MaxFrame() != 800 {
		t.Errorf("ring size %d, buffer size %d, largest frame %d", c.RingSize(), c.BufferSize(), c.MaxFrame())
	}
	if s := c.Server(); s.Name != "a test" || s.Interface != "test0" {
		t.Errorf("the server is %+v", s)
	}
	for i, r := range p.s2c {
		if n, ok := r.Span(0, r.Head()); n != 8 || !ok || !r.Masked() {
			t.Errorf("ring %d: %d buffers lent, masked %v", i, n, r.Masked())
		}
	}
}

func TestDefaults(t *testing.T) {
	c, p := connect(t, client.Config{})
	if c.Rings() != 1 || c.RingSize() != 1024 || c.BufferSize() != 2048 {
		t.Errorf("%d rings of %d slots of %d bytes", c.Rings(), c.RingSize(), c.BufferSize())
	}
	if p.init.Name == "" || p.init.ID != 0 || p.init.Secret != "" {
		t.Errorf("the server heard %+v", p.init)
	}
	most := (client.Config{}).MemoryBytes()
	if size := uint64(len(p.region.Data())); most != 4227328+63*64+2*1024*64 || size > most || size+63*64 < most {
		t.Errorf("%d bytes of memory, announced were at most %d", size, most)
	}
}

func TestRingSizeIsTheServersToLimit(t *testing.T) {
	s := listen(t)
	s.hello.MaxLog2Ring = 5
	accepted := s.accept()
	c, err := client.Dial(within(t), client.Config{Socket: s.socket})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p := <-accepted; p.err != nil || c.RingSize() != 32 || p.s2c[0].Size() != 32 {
		t.Errorf("ring size %d, the server sees %d (%v)", c.RingSize(), p.s2c[0].Size(), p.err)
	}
}

func TestAbstractSocket(t *testing.T) {
	name := "@" + filepath.Base(t.TempDir()) + t.Name()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: name, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := listen(t)
	s.l = l
	accepted := s.accept()
	c, err := client.Dial(within(t), client.Config{Socket: name, RingSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p := <-accepted; p.err != nil {
		t.Error(p.err)
	}
}

func TestBadConfigurations(t *testing.T) {
	for _, c := range []struct {
		cfg client.Config
		why string
	}{
		{client.Config{}, "no socket"},
		{client.Config{Socket: "@"}, "no socket"},
		{client.Config{Socket: "/" + strings.Repeat("x", 107)}, "has 108 bytes"},
		{client.Config{Socket: "\x00abc"}, "with @ in front"},
		{client.Config{Socket: "s", Secret: strings.Repeat("x", 24)}, "room for 23"},
		{client.Config{Socket: "s", Secret: "a\x00b"}, "the secret contains a NUL"},
		{client.Config{Socket: "s", Name: strings.Repeat("x", 32)}, "room for 31"},
		{client.Config{Socket: "s", Interface: strings.Repeat("x", 32)}, "room for 31"},
		{client.Config{Socket: "s", Rings: -1}, "-1 rings"},
		{client.Config{Socket: "s", Rings: 257}, "257 rings"},
		{client.Config{Socket: "s", RingSize: 1}, "ring size 1:"},
		{client.Config{Socket: "s", RingSize: -8}, "ring size -8:"},
		{client.Config{Socket: "s", RingSize: 1000}, "a power of two"},
		{client.Config{Socket: "s", RingSize: 32768}, "from 2 to 16384"},
		{client.Config{Socket: "s", BufferSize: -1}, "-1 bytes"},
		{client.Config{Socket: "s", BufferSize: 65536}, "65536 bytes"},
		{client.Config{Socket: "s", Rings: 256, RingSize: 16384}, "at most 4096"},
	} {
		_, err := client.Dial(within(t), c.cfg)
		if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: error %v, want one about %q", c.cfg, err, c.why)
		}
	}
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, "left")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: left, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	stream, err := net.Listen("unix", filepath.Join(dir, "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	for _, c := range []struct {
		socket string
		is     error
		why    string
	}{
		{filepath.Join(dir, "none"), fs.ErrNotExist, "is the server running"},
		{left, syscall.ECONNREFUSED, "nobody listens there any more"},
		{"@" + left, syscall.ECONNREFUSED, "network namespace"},
		{filepath.Join(dir, "stream"), syscall.EPROTOTYPE, "no memif socket"},
	} {
		_, err := client.Dial(within(t), client.Config{Socket: c.socket})
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %v with %q", c.socket, err, c.is, c.why)
		}
	}
}

// TestRefusals has the server refuse each step, with a reason and without.
func TestRefusals(t *testing.T) {
	steps := []struct {
		name string
		at   func(wire.Message) bool
	}{
		{"connection", func(m wire.Message) bool { return m == nil }},
		{"INIT", is[wire.Init]},
		{"ADD_REGION", is[wire.AddRegion]},
		{"ADD_RING", is[wire.AddRing]},
		{"CONNECT", is[wire.Connect]},
	}
	answers := []struct {
		name   string
		m      wire.Message
		reason string
	}{
		{"with a reason", wire.Disconnect{Reason: "Incorrect secret"}, "Incorrect secret"},
		{"without", closeIt{}, ""},
	}
	for _, step := range steps {
		for _, answer := range answers {
			t.Run(step.name+" "+answer.name, func(t *testing.T) {
				err := dialWith(t, func(m wire.Message) wire.Message {
					if step.at(m) {
						return answer.m
					}
					return nil
				})
				var refused *client.RefusedError
				if !errors.As(err, &refused) || refused.Message != step.name || refused.Reason != answer.reason {
					t.Fatalf("error %v", err)
				}
				if !strings.Contains(err.Error(), answer.reason) || !strings.Contains(err.Error(), step.name) {
					t.Errorf("the line says %q", err)
				}
			})
		}
	}
}

func is[M wire.Message](m wire.Message) bool {
	_, ok := m.(M)
	return ok
}

func dialWith(t *testing.T, answer func(wire.Message) wire.Message) error {
	t.Helper()
	s := listen(t)
	s.answer = answer
	accepted := s.accept()
	c, err := client.Dial(within(t), client.Config{Socket: s.socket})
	if err == nil {
		t.Error("the server let us in")
		c.Close()
	}
	(<-accepted).close()
	return err
}

// TestStrangeServers: what is no memif 2.0 is an error that says so.
func TestStrangeServers(t *testing.T) {
	hello := wire.Hello{MinVersion: wire.Version, MaxVersion: wire.Version, MaxC2SRing: 255, MaxS2CRing: 255, MaxLog2Ring: 14}
	older, newer, ringless := hello, hello, hello
	older.MinVersion, older.MaxVersion = 0x0100, 0x0103
	newer.MinVersion, newer.MaxVersion = 0x0300, 0x0300
	ringless.MaxLog2Ring = 0
	for _, c := range []struct {
		name  string
		at    func(wire.Message) bool
		m     wire.Message
		why   string
		broke bool
	}{
		{"an old one", isNil, older, "versions 1.0 to 1.3", false},
		{"a new one", isNil, newer, "versions 3.0 to 3.0", false},
		{"one without rings", isNil, ringless, "2^0 slots", true},
		{"one that says ACK first", isNil, wire.Ack{}, "ACK to our connection", true},
		{"one that says CONNECTED to INIT", is[wire.Init], wire.Connected{}, "CONNECTED to our INIT", true},
		{"one that says ACK to CONNECT", is[wire.Connect], wire.Ack{}, "ACK to our CONNECT", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := dialWith(t, func(m wire.Message) wire.Message {
				if c.at(m) {
					return c.m
				}
				return nil
			})
			if err == nil || !strings.Contains(err.Error(), c.why) || errors.Is(err, client.ErrServer) != c.broke {
				t.Errorf("error %v, want one with %q", err, c.why)
			}
		})
	}
}

func isNil(m wire.Message) bool { return m == nil }

func TestTooManyRings(t *testing.T) {
	s := listen(t)
	s.hello.MaxC2SRing = 1
	s.accept()
	_, err := client.Dial(within(t), client.Config{Socket: s.socket, Rings: 3})
	if err == nil || !strings.Contains(err.Error(), "takes 2 rings each way, 3 are configured") {
		t.Errorf("error %v", err)
	}
}

// TestDialEndsWithItsContext: a server that says nothing any more is not waited
// for.
func TestDialEndsWithItsContext(t *testing.T) {
	for _, step := range []func(wire.Message) bool{isNil, is[wire.Init], is[wire.Connect]} {
		s := listen(t)
		ctx, cancel := context.WithCancel(within(t))
		hang := make(chan struct{})
		s.answer = func(m wire.Message) wire.Message {
			if step(m) {
				cancel()
				<-hang
			}
			return nil
		}
		accepted := s.accept()
		_, err := client.Dial(ctx, client.Config{Socket: s.socket})
		close(hang)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "did not answer our") {
			t.Errorf("error %v", err)
		}
		<-accepted
	}
}
