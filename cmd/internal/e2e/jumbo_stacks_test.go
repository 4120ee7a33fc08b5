package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// newJumbo is a machine with an MTU of 9,000: the ports a and b, which takes
// 1,500, are TAPs, m and s, which takes 1,500, are of memif and answered for by
// the echo program.
func newJumbo(t *testing.T) *machine {
	m := newMachine(t, nictest.Config{MTU: 9000, Containers: 3})
	m.openRunDir()
	m.attach()
	m.add(0, "a", a4+"/16,"+a6+"/64")
	m.add(1, "b", b4+"/16,"+b6+"/64", "--mtu", "1500")
	m.addMemif("m", m4+"/16,"+m6+"/64")
	m.addMemif("s", n4+"/16,"+n6+"/64", "--mtu", "1500")
	startEcho(t, m, m.Containers[2])
	for _, name := range []string{"m", "s"} {
		m.awaitClient(name)
	}
	return m
}

// TestJumboPing: real stacks on the wire, on the host and in a container ping a
// TAP, a memif client and each other with packets of up to 9,000 bytes that may
// not be cut. A port that takes less lets the sender know what it takes.
func TestJumboPing(t *testing.T) {
	m := newJumbo(t)
	nodes := []node{{"wire", m.Wire, wire4, wire6}, {"host", m.Host, host4, host6}, {"tap", m.Containers[0], a4, a6}}
	for _, from := range nodes {
		for _, to := range append(slices.Clone(nodes), node{"memif", nil, m4, m6}) {
			if from.name == to.name {
				continue
			}
			for _, packet := range []int{1501, 2035, 4083, 9000} { // frames of 1,515, 2,049, 4,097 and 9,014 bytes
				ping(t, from.ns, to.v4, "-c", "1", "-M", "do", "-s", fmt.Sprint(packet-28))
			}
			ping(t, from.ns, to.v6, "-c", "1", "-M", "do", "-s", "8952")
		}
		for _, to := range []node{{"small tap", nil, b4, b6}, {"small memif", nil, n4, n6}} {
			requireTold(t, from, to.v4, "-s", "8972")
			requireTold(t, from, to.v6, "-s", "8952")
			ping(t, from.ns, to.v4, "-c", "1", "-M", "do", "-s", "1472")
			ping(t, from.ns, to.v6, "-c", "1", "-M", "do", "-s", "1452")
		}
	}
	requireConserved(t, atRest(t, m.client()))
}

// requireTold requires that who sends more than another takes is told how much
// that is, 1,500 bytes: by an ICMP error, or by what one before has left.
func requireTold(t *testing.T, from node, to string, size ...string) {
	t.Helper()
	var out string
	for range 3 {
		out, _ = from.ns.Try("ping", append([]string{"-n", "-c", "1", "-W", "2", "-M", "do", to}, size...)...)
		if strings.Contains(out, "mtu = 1500") || strings.Contains(out, "mtu=1500") || strings.Contains(out, "mtu: 1500") {
			return
		}
	}
	t.Errorf("%s -> %s: nobody said 1500:\n%s", from.name, to, out)
}

// TestJumboStreams: with an MTU of 9,000 files come intact over TCP, in segments
// that large, out of and into a TAP and a memif client with a stack of its own;
// and into a TAP that takes 1,500.
func TestJumboStreams(t *testing.T) {
	nictest.Require(t, "curl", "python3", "setpriv")
	const size = 20 << 20
	m := newMachine(t, nictest.Config{MTU: 9000, Containers: 3})
	m.openRunDir()
	m.attach()
	m.add(1, "a", a4+"/16")
	m.add(2, "b", b4+"/16", "--mtu", "1500")
	n := newNetstack(t, m)
	fetch := n.fetches("fetching", n4)
	dir := t.TempDir()
	want := encoded(randomFile(t, filepath.Join(dir, "blob"), size))
	serving := n.start(t, "serve", n.add("serving", m4+"/16"))
	nictest.Eventually(t, "netstack to serve", func() bool { return strings.Contains(serving.Output(), "serving http://"+m4) })
	for addr, ns := range map[string]*nictest.NS{wire4: m.Wire, a4: m.Containers[1]} {
		srv := ns.Start(t, "python3", "-u", "-m", "http.server", "-d", dir, "-b", addr, "8000")
		nictest.Eventually(t, "the HTTP server", func() bool { return strings.Contains(srv.Output(), "Serving") })
	}
	toWire, fromWire := func(s api.Stats) uint64 { return s.WireFrames }, func(s api.Stats) uint64 { return s.Wire.Received }
	into := func(port string) func(s api.Stats) uint64 {
		return func(s api.Stats) uint64 { return portStats(t, s, port).RxFrames }
	}
	tapURL, wireURL, memifURL := "http://"+a4+":8000/blob", "http://"+wire4+":8000/blob", fmt.Sprint("http://", m4, "/bytes/", size)
	for _, c := range []struct {
		name, url, digest string // of what the server says itself, digest is empty
		fetch             func(t *testing.T, url string) (digest string)
		segments          func(api.Stats) uint64
		packet            int
	}{
		{"tap to wire", tapURL, want, curlIn(m.Wire), toWire, 9000},
		{"wire to tap", wireURL, want, curlIn(m.Containers[1]), fromWire, 9000},
		{"memif to wire", memifURL, "", curlIn(m.Wire), toWire, 9000},
		{"memif to tap", memifURL, "", curlIn(m.Containers[1]), into("a"), 9000},
		{"wire to memif", wireURL, want, fetch, fromWire, 9000},
		{"memif to small tap", memifURL, "", curlIn(m.Containers[2]), into("b"), 1500},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := m.stats()
			if got := c.fetch(t, c.url); c.digest != "" && got != c.digest {
				t.Errorf("what arrived is %s, and was %s", got, c.digest)
			}
			segments, least := c.segments(m.stats())-c.segments(before), uint64(size/c.packet)
			if segments < least || segments > least*5/4 {
				t.Errorf("it took %d segments, wanted %d and a few", segments, least)
			}
		})
	}
	requireConserved(t, atRest(t, m.client()))
}

// curlIn fetches with curl in a namespace, and requires what arrived to be what
// the server says that it sent, if it does.
func curlIn(ns *nictest.NS) func(t *testing.T, url string) (digest string) {
	return func(t *testing.T, url string) string {
		t.Helper()
		got := filepath.Join(t.TempDir(), "got")
		head := ns.Run(t, "curl", "-sS", "--fail", "-m", "60", "-D", "-", "-o", got, url)
		data, err := os.ReadFile(got)
		if err != nil {
			t.Fatal(err)
		}
		if d := digestOf(data); strings.Contains(head, "Repr-Digest:") && !strings.Contains(head, d) {
			t.Errorf("%d bytes arrived, and not those that were sent:\n%s", len(data), head)
		}
		return digestOf(data)
	}
}

// fetches fetches with netstack, over a port of its own.
func (n *netstack) fetches(name, ip string) func(t *testing.T, url string) (digest string) {
	file := n.add(name, ip+"/16")
	return func(t *testing.T, url string) string {
		t.Helper()
		p := n.start(t, "fetch", "--timeout", "60s", file, url)
		if err := p.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, p.Output())
		}
		_, digest, _ := strings.Cut(p.Output(), "sha-256=")
		return "sha-256=" + strings.TrimSpace(digest)
	}
}
