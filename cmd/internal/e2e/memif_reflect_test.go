package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// reflection sends frames from the wire to a memif client that sends each back,
// and counts them: both directions at once, and none may be lost.
type reflection struct {
	*machine
	wire *rawSocket
	mac  mac // of the wire's end
	next int // number of the next frame
}

func newReflection(t *testing.T, cfg nictest.Config, attach ...string) *reflection {
	m := newMachine(t, cfg)
	m.openRunDir()
	m.attach(attach...)
	sinkUDP(t, m.Wire) // or its stack would answer what comes back
	return &reflection{machine: m, wire: openRaw(t, m.Wire, m.WireNIC), mac: m.Wire.MAC(t, m.WireNIC)}
}

// rounds of each size, and the sizes in bytes with the Ethernet header: the
// least, a middle one, and an IP packet of 1,500 bytes.
const rounds = 5

func sizes() []int { return []int{64, 512, 1514} }

// requireAll sends bursts of frames of each size to the port and waits after
// each until all are back.
func (r *reflection) requireAll(t *testing.T, e api.Endpoint, burst int) {
	t.Helper()
	r.warm(t, e)
	before := r.stats()
	sent := 0
	for _, size := range sizes() {
		for range rounds {
			r.wire.forget()
			first := r.next
			for range burst {
				r.send(t, e, size)
			}
			sent += burst
			r.awaitNumbers(t, size, first, burst)
		}
	}
	after := r.stats()
	if after.Total.Unaccounted() != 0 || after.Total.InFlight != 0 {
		t.Errorf("%+v does not add up", after.Total)
	}
	was, is := portStats(t, before, r.nameOf(e)), portStats(t, after, r.nameOf(e))
	if rx, tx := is.RxFrames-was.RxFrames, is.Tx.ToWire-was.Tx.ToWire; rx < uint64(sent) || tx < uint64(sent) {
		t.Errorf("%d frames were sent, %d delivered, and %d came back", sent, rx, tx)
	}
	if lost := total(is.RxDrops) + total(is.TxRefused) + is.Tx.Dropped() - total(was.RxDrops) - total(was.TxRefused) - was.Tx.Dropped(); lost > 0 {
		t.Errorf("lost: %v, %v, %v", is.RxDrops, is.TxRefused, is.Tx.Drops)
	}
}

func total(counts map[string]uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// send sends the next frame, of so many bytes. All come from one port of the
// wire, and are for one of many, so that they take all queues.
func (r *reflection) send(t *testing.T, e api.Endpoint, size int) {
	t.Helper()
	to := path{src: r.mac, dst: mac(e.MAC)}.between(wire4, e.IPs[0].Addr().String())
	frame := to.datagram(t, sink, uint16(1024+r.next%4096), make([]byte, size-14-20-8-len(mark)-2))
	r.wire.send(t, marked(frame, r.next%65536))
	r.next++
}

// warm sends frames, a few at a time, until one burst comes back from every
// ring: a client of DPDK's is connected before it has lent its buffers.
func (r *reflection) warm(t *testing.T, e api.Endpoint) {
	t.Helper()
	const burst = 32
	back := func(first int) (n int) {
		have := r.wire.numbers()
		for i := range burst {
			n += have[(first+i)%65536]
		}
		return n
	}
	nictest.Eventually(t, "the client to send back what comes", func() bool {
		first := r.next
		for i := range burst {
			r.send(t, e, 64)
			for end := time.Now().Add(300 * time.Millisecond); back(first) <= i && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if back(first) <= i {
				return false
			}
		}
		return true
	})
}

// awaitNumbers waits until all frames of a burst are back, each once and whole.
func (r *reflection) awaitNumbers(t *testing.T, size, first, burst int) {
	t.Helper()
	have := r.wire.numbers()
	missing := func() (n int) {
		for i := range burst {
			if have[(first+i)%65536] == 0 {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(15 * time.Second); missing() > 0 && time.Now().Before(end); have = r.wire.numbers() {
		time.Sleep(time.Millisecond)
	}
	if n := missing(); n > 0 {
		t.Fatalf("%d of %d frames of %d bytes did not come back: %+v", n, burst, size, r.stats())
	}
	for i := range burst {
		if n := have[(first+i)%65536]; n != 1 {
			t.Fatalf("frame %d of %d bytes came back %d times", first+i, size, n)
		}
	}
	if r.wire.any(func(frame []byte) bool { return len(frame) != size }) {
		t.Fatalf("a frame of %d bytes came back with another length", size)
	}
}

// nameOf finds the port of an endpoint.
func (r *reflection) nameOf(e api.Endpoint) string {
	r.t.Helper()
	for _, p := range r.ports() {
		if p.Endpoint != nil && p.Endpoint.SocketPath == e.SocketPath {
			return p.Name
		}
	}
	r.t.Fatalf("there is no port with socket %s", e.SocketPath)
	return ""
}

func portStats(t *testing.T, s api.Stats, name string) api.PortStats {
	t.Helper()
	for _, p := range s.Ports {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("there are no counters of port %s", name)
	return api.PortStats{}
}

// reflector is testpmd sending back what comes, with addresses and ports
// swapped.
const reflector = "5tswap"

// TestMemifReflects: frames of three sizes go from the wire to testpmd and back,
// with none lost, for rings of every length and number, small buffers, and every
// kind of socket.
func TestMemifReflects(t *testing.T) {
	nictest.Require(t, "dpdk-testpmd", "setpriv")
	r := newReflection(t, nictest.Config{Queues: 4, Containers: 2}, "--workers", "4")
	for _, c := range []struct {
		name  string
		add   []string
		pmd   pmdConfig
		burst int
		want  api.MemifClient // rings and ring size
		host  bool            // runs in the host's namespace
	}{
		{name: "one ring for four workers", burst: 64, want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "two rings", add: []string{"--rings", "2"}, pmd: pmdConfig{rings: 2}, burst: 64, want: api.MemifClient{Rings: 2, RingSize: 1024}},
		{name: "a ring for each worker", add: []string{"--rings", "4"}, pmd: pmdConfig{rings: 4}, burst: 64, want: api.MemifClient{Rings: 4, RingSize: 1024}},
		{name: "rings of two slots", pmd: pmdConfig{log2: 1}, burst: 1, want: api.MemifClient{Rings: 1, RingSize: 2}},
		{name: "rings of 1024", pmd: pmdConfig{log2: 10}, burst: 64, want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "rings of 16384", add: []string{"--ring-size", "16384"}, pmd: pmdConfig{log2: 14}, burst: 64, want: api.MemifClient{Rings: 1, RingSize: 16384}},
		{name: "rings of 16384 where 1024 are the most", pmd: pmdConfig{log2: 14}, burst: 64, want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "buffers of 256 bytes", pmd: pmdConfig{size: 256}, burst: 32, want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "own MAC", add: []string{"--mac", mMAC}, burst: 64, want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "secret", add: []string{"--secret-file", r.secret("s3cret")}, pmd: pmdConfig{secret: "s3cret"}, burst: 64,
			want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "abstract in the container's namespace", add: []string{"--abstract", "of-a-container", "--netns", r.Containers[0].Path}, burst: 64,
			want: api.MemifClient{Rings: 1, RingSize: 1024}},
		{name: "abstract in the host's namespace", add: []string{"--abstract", "of-the-host"}, burst: 64, host: true,
			want: api.MemifClient{Rings: 1, RingSize: 1024}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &reflection{r.in(t), r.wire, r.mac, r.next}
			e := r.addMemif("fast", a4+"/16", c.add...)
			t.Cleanup(func() {
				r.run("del", "fast")
				r.requirePorts()
			})
			in := r.Containers[0]
			if c.host {
				in = r.Host
			}
			c.pmd.mode = reflector
			p := startPMD(t, in, e, c.pmd)
			got := r.awaitClient("fast")
			if got.Rings != c.want.Rings || got.RingSize != c.want.RingSize {
				t.Errorf("%d rings of %d", got.Rings, got.RingSize)
			}
			r.requireAll(t, e, c.burst)
			p.stop()
			r.awaitNoClient("fast")
		})
	}
}

// secret writes a secret into a file.
func (m *machine) secret(text string) (file string) {
	m.t.Helper()
	file = m.t.TempDir() + "/secret"
	if err := writeFile(file, text); err != nil {
		m.t.Fatal(err)
	}
	return file
}

// TestMemifKeepsOthersOut: who does not know the secret, comes second, or brings
// another number of rings is told so and sent away; who is connected stays so.
func TestMemifKeepsOthersOut(t *testing.T) {
	r := newReflection(t, nictest.Config{Queues: 2, Containers: 1}, "--workers", "2")
	e := r.addMemif("fast", a4+"/16", "--secret-file", r.secret("s3cret"))
	for _, c := range []struct {
		why string
		cfg pmdConfig
	}{
		{"ncorrect secret", pmdConfig{secret: "wrong"}},
		{"secret is required", pmdConfig{}},
		{"configure as many", pmdConfig{secret: "s3cret", rings: 2, log2: 9}}, // which fit into the memory
	} {
		p := startPMD(t, r.Containers[0], e, c.cfg)
		nictest.Eventually(t, "testpmd to be sent away: "+c.why, func() bool {
			return strings.Contains(r.port("fast").LastDisconnect, c.why)
		})
		if c := r.port("fast").Client; c != nil {
			t.Errorf("%+v is connected", c)
		}
		p.stop()
	}
	cfg := pmdConfig{mode: reflector, secret: "s3cret"}
	p := startPMD(t, r.Containers[0], e, cfg)
	first := r.awaitClient("fast")
	_, err := dialMemif(t, e, "s3cret")
	if err == nil || !strings.Contains(err.Error(), "already connected") {
		t.Errorf("a second client was told %v", err)
	}
	r.requireAll(t, e, 16)
	if c := r.port("fast").Client; c == nil || c.PID != first.PID || !c.ConnectedSince.Equal(first.ConnectedSince) {
		t.Errorf("after a second client came, %+v is connected, was %+v", c, first)
	}
	p.stop()
}
