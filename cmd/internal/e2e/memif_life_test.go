package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// TestMemifStopsAndStarts: testpmd stops forwarding and goes on, and stops its
// port and starts it again, which connects anew: each time all frames come back.
func TestMemifStopsAndStarts(t *testing.T) {
	r := newReflection(t, nictest.Config{Containers: 1})
	e := r.addMemif("fast", a4+"/16")
	p := startPMD(t, r.Containers[0], e, pmdConfig{mode: reflector, interactive: true})
	p.wait("testpmd>", 0)
	p.say("start")
	first := r.awaitClient("fast")
	r.requireAll(t, e, 32)

	p.say("stop")
	at := p.wait("Done.", 0)
	p.say("start")
	p.wait("packet forwarding", at)
	r.requireAll(t, e, 32)

	p.say("stop")
	at = p.wait("Done.", at)
	p.say("port stop 0")
	if why := r.awaitNoClient("fast"); !strings.Contains(why, "client") {
		t.Errorf("the client went: %s", why)
	}
	p.say("port start 0")
	p.say("start")
	second := r.awaitClient("fast")
	if !second.ConnectedSince.After(first.ConnectedSince) || second.PID != first.PID {
		t.Errorf("%+v came back as %+v", first, second)
	}
	r.requireAll(t, e, 32)
	p.say("quit")
	<-p.Done()
}

// TestMemifClientDies: one that is killed is gone at once, and the next one has
// all frames.
func TestMemifClientDies(t *testing.T) {
	r := newReflection(t, nictest.Config{Containers: 1})
	e := r.addMemif("fast", a4+"/16")
	for range 2 {
		p := startPMD(t, r.Containers[0], e, pmdConfig{mode: reflector})
		r.awaitClient("fast")
		r.requireAll(t, e, 32)
		if err := p.Stop(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.awaitNoClient("fast")
	}
}

// TestMemifDaemonComesBack: clients that keep their connections up are served
// again after the daemon was killed, and after it detached and attached.
func TestMemifDaemonComesBack(t *testing.T) {
	m := newMachine(t, nictest.Config{Queues: 2})
	m.attach("--workers", "2")
	names := []string{"one", "two"}
	ends := []api.Endpoint{m.addMemif("one", a4+"/16,"+a6+"/64"), m.addMemif("two", m4+"/16,"+m6+"/64", "--mac", mMAC, "--rings", "2")}
	for _, e := range ends {
		echoes(t, e)
	}
	nodes := []string{a4, a6, m4, m6}
	serves := func() {
		t.Helper()
		m.requirePorts(names...)
		for _, name := range names {
			m.awaitClient(name)
		}
		for _, to := range nodes {
			ping(t, m.Wire, to)
			ping(t, m.Host, to)
		}
	}
	serves()
	m.kill()
	m.attach("--workers", "2")
	serves()
	m.detach()
	m.requireNoRemains()
	m.attach("--workers", "2")
	serves()
	m.kill()
	m.run("detach", m.NIC)
	m.requireNoRemains()
	m.attach("--workers", "1") // too few for the second
	if p := m.port("two"); p.State != api.StateFailed || !strings.Contains(p.Error, "2 rings") {
		t.Errorf("a port with more rings than workers is %s: %s", p.State, p.Error)
	}
	m.awaitClient("one")
	ping(t, m.Wire, a4)
	m.detach()
	m.requireNoRemains()
}

// TestMemifSetKeepsTheClient: new addresses and another MTU leave the client
// connected; del tells it why it must go, and takes its directory away.
func TestMemifSetKeepsTheClient(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	m.attach()
	e := m.addMemif("fast", a4+"/16")
	conn, err := dialMemif(t, e, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	since := m.awaitClient("fast").ConnectedSince
	m.run("set", "fast", "--ip", a4+"/16,"+b4+"/16", "--mtu", "1400", "--gateway", wire4)
	p := m.port("fast")
	if p.Client == nil || !p.Client.ConnectedSince.Equal(since) {
		t.Errorf("after set, the client is %+v", p.Client)
	}
	if e := p.Endpoint; e.MTU != 1400 || len(e.IPs) != 2 || e.Gateway.String() != wire4 {
		t.Errorf("after set, the endpoint is %+v", e)
	}
	if out, code := m.try("set", "fast", "--depth", "64"); code != 2 || !strings.Contains(out, "has rings") {
		t.Errorf("a new depth: %d, %s", code, out)
	}
	m.run("del", "fast")
	<-conn.Done()
	var told *client.DisconnectedError
	if !errors.As(conn.Err(), &told) || told.Reason == "" {
		t.Errorf("the client was told %v", conn.Err())
	}
	if _, err := os.Lstat(filepath.Dir(e.SocketPath)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}

// TestMemifHundred: a hundred containers, which the example program serves from
// one process that has nothing, answer the wire, the host, and a container that
// has an interface.
func TestMemifHundred(t *testing.T) {
	nictest.Require(t, "fping", "setpriv")
	const many = 100
	m := newMachine(t, nictest.Config{Containers: 2})
	m.openRunDir()
	m.attach()
	m.add(0, "tap", a4+"/16")
	var targets []string
	specs := make([]api.PortSpec, many)
	for i := range specs {
		ip := netip.AddrFrom4([4]byte{10, 9, 7, byte(i + 1)})
		targets = append(targets, ip.String())
		specs[i] = api.PortSpec{Name: fmt.Sprint("c", i), Kind: api.KindMemif, IPs: []netip.Prefix{netip.PrefixFrom(ip, 16)},
			MemifSpec: api.MemifSpec{RingSize: 128, UID: nobody, GID: nobody}}
	}
	if _, err := m.client().Add(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	startEcho(t, m, m.Containers[1])
	nictest.Eventually(t, "all to be connected", func() bool {
		return !slices.ContainsFunc(m.ports(), func(p api.Port) bool { return p.Kind == api.KindMemif && p.Client == nil })
	})
	for name, from := range map[string]*nictest.NS{"wire": m.Wire, "host": m.Host, "tap": m.Containers[0]} {
		args := append([]string{"-q", "-c", "3", "-r", "2", "-t", "5000", "-p", "1000"}, targets...)
		if out, err := from.Try("fping", args...); err != nil {
			t.Errorf("from the %s: %v\n%s", name, err, out)
		}
	}
}

// startEcho serves all ports of kind memif that there are with the example
// program, as nobody and without a capability.
func startEcho(t *testing.T, m *machine, in *nictest.NS) {
	t.Helper()
	dir := filepath.Dir(m.runDir)
	program, list := filepath.Join(dir, "echo"), filepath.Join(dir, "ls.json")
	if err := errors.Join(putEcho(program), writeFile(list, m.run("ls", "-o", "json"))); err != nil {
		t.Fatal(err)
	}
	ports, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer ports.Close()
	id := fmt.Sprint(nobody)
	in.StartWith(t, ports, "setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
		program, "-")
}

// putEcho puts the example program where nobody can reach it: the one that
// XDPDEMUX_TEST_ECHO names, as make test does, or else one that it builds.
func putEcho(path string) error {
	if built := os.Getenv("XDPDEMUX_TEST_ECHO"); built != "" {
		data, err := os.ReadFile(built)
		return errors.Join(err, os.WriteFile(path, data, 0o755))
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "github.com/xdpdemux/xdpdemux/examples/echo")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building echo: %w\n%s", err, out)
	}
	return nil
}

// TestMemifLocal: two memif containers, and one with an interface, reach each
// other without the wire.
func TestMemifLocal(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	m.attach()
	m.add(0, "tap", b4+"/16")
	echoing := m.addMemif("echoing", m4+"/16", "--mac", mMAC)
	echoes(t, echoing)
	asking := m.addMemif("asking", a4+"/16")
	conn, err := dialMemif(t, asking, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	m.awaitClient("echoing")
	ping(t, m.Containers[0], m4)

	wire := openRaw(t, m.Wire, m.WireNIC)
	to := path{src: mac(asking.MAC), dst: mac(echoing.MAC)}.between(a4, m4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const many = 500
	bufs, have := client.Buffers(64, 2048), map[int]int{}
	for i := range many {
		frame := marked(to.datagram(t, 4000, 7, make([]byte, 1+i)), i)
		if _, err := conn.Ring(0).WriteContext(ctx, [][]byte{frame}); err != nil {
			t.Fatal(err)
		}
		for have[i] == 0 {
			n, err := conn.Ring(0).ReadContext(ctx, bufs)
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			for _, f := range bufs[:n] {
				if isMarked(f) {
					have[numberOf(f)]++
				}
			}
		}
		if have[i] != 1 {
			t.Errorf("frame %d came back %d times", i, have[i])
		}
	}
	if n := len(wire.numbers()); n > 0 {
		t.Errorf("%d of the frames are on the wire", n)
	}
}
