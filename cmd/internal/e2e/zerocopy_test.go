//go:build vm

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestZeroCopyServes: over a NIC that does zero-copy a TAP and a memif client
// reach everybody, every frame of a burst in either direction arrives, all are
// accounted for, and the NIC is left as it was.
func TestZeroCopyServes(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 2})
	m.openRunDir()
	before := nictest.Snapshot(t, m.Host)
	m.attach("--zero-copy", "on")
	requireZeroCopy(t, m)
	m.add(0, "a", a4+"/16,"+a6+"/64")
	m.addMemif("m", m4+"/16,"+m6+"/64")
	startEcho(t, m, m.Containers[1])
	m.awaitClient("m")
	nodes := []node{{"wire", m.Wire, wire4, wire6}, {"host", m.Host, host4, host6}, {"tap", m.Containers[0], a4, a6}}
	for _, from := range nodes {
		for _, to := range append(nodes[:3:3], node{"memif", nil, m4, m6}) {
			if from.name != to.name {
				ping(t, from.ns, to.v4, "-c", "2")
				ping(t, from.ns, to.v6, "-c", "2", "-s", "1452", "-M", "do")
			}
		}
	}
	s := atRest(t, m.client())
	requireConserved(t, s)
	t.Logf("%d frames came from the wire, %d left to it", s.Wire.Received, s.WireFrames)
	m.run("del", "a", "m")
	m.detach()
	for _, line := range nictest.Diff(before, nictest.Snapshot(t, m.Host)) {
		t.Error(line)
	}
}

// TestZeroCopyFrames: frames of many sizes go from the wire to a memif client and
// to a TAP and back, and from the TAP to the client and back. Each byte of each
// comes back, and each is counted.
func TestZeroCopyFrames(t *testing.T) {
	b := newBoundaries(t, 1500, "--zero-copy", "on")
	requireZeroCopy(t, b.machine)
	var sizes []int
	for size := 100; size <= 1514; size += 14 {
		sizes = append(sizes, size)
	}
	b.bounceAll(t, sizes)
}

// TestZeroCopyJumbo: a driver that does zero-copy only for frames of one chunk is
// refused where the MTU is larger, and auto copies.
func TestZeroCopyJumbo(t *testing.T) {
	m := newMachine(t, nictest.Config{MTU: 9000, Containers: 1})
	m.refused(refusal{"zero-copy", failed, []string{"attach", m.NIC, "--zero-copy", "on"}, []string{m.NIC, "zero-copy at an MTU of 9000"}})
	m.attach("--zero-copy", "auto")
	if out := m.daemon.Output(); !strings.Contains(out, ", native, copy, ") || !strings.Contains(out, "zero-copy at an MTU of 9000") {
		t.Errorf("the daemon said:\n%s", out)
	}
	m.add(0, "a", a4+"/16,"+a6+"/64")
	ping(t, m.Wire, a4, "-s", "8972", "-M", "do")
	m.detach()
}

// requireZeroCopy requires that the kernel says so of each of the daemon's
// sockets, and the daemon too.
func requireZeroCopy(t *testing.T, m *machine) {
	t.Helper()
	if out := m.daemon.Output(); !strings.Contains(out, ", native, zero-copy, ") {
		t.Errorf("the daemon said:\n%s", out)
	}
	for n, options := range xdpSockets(t, m) {
		if options&unix.XDP_OPTIONS_ZEROCOPY == 0 {
			t.Errorf("XDP_OPTIONS of descriptor %d is %d", n, options)
		}
	}
}

// xdpSockets are the daemon's descriptors of AF_XDP sockets, at least one, and
// what XDP_OPTIONS says of each.
func xdpSockets(t *testing.T, m *machine) map[int]int {
	t.Helper()
	pidfd, err := unix.PidfdOpen(m.daemon.Cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	all := map[int]int{}
	for n := range 256 {
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue
		}
		if domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil && domain == unix.AF_XDP {
			if all[n], err = unix.GetsockoptInt(fd, unix.SOL_XDP, unix.XDP_OPTIONS); err != nil {
				t.Fatalf("XDP_OPTIONS of descriptor %d: %v", n, err)
			}
		}
		unix.Close(fd)
	}
	if len(all) == 0 {
		t.Fatal("the daemon has no AF_XDP socket")
	}
	return all
}

// TestZeroCopyHostLosesNothing: the host's own traffic goes on across attach,
// traffic of ports, detach, SIGKILL and the clean-up after that.
func TestZeroCopyHostLosesNothing(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	before := nictest.Snapshot(t, m.Host)
	pings := hostPings(t, m)
	for _, end := range []struct {
		name string
		do   func()
	}{{"detach", m.detach}, {"SIGKILL", m.kill}, {"detach", m.detach}, {"SIGKILL and clean-up", func() {
		m.kill()
		m.run("detach", m.NIC)
	}}} {
		m.attach("--zero-copy", "on")
		m.ensureAdded(0, "a", a4+"/16,"+a6+"/64")
		ping(t, m.Wire, a4)
		ping(t, m.Host, a6)
		goOn(t, pings, "while attached")
		end.do()
		goOn(t, pings, "after "+end.name)
	}
	requireNoLoss(t, pings)
	for _, line := range nictest.Diff(before, nictest.Snapshot(t, m.Host)) {
		t.Error(line)
	}
}

// hostPings are between the wire and the host.
func hostPings(t *testing.T, m *machine) []*stream {
	t.Helper()
	return []*stream{startStream(t, m.Wire, host4), startStream(t, m.Wire, host6), startStream(t, m.Host, wire4), startStream(t, m.Host, wire6)}
}

// goOn waits until all of them have gone on for a while.
func goOn(t *testing.T, streams []*stream, while string) {
	t.Helper()
	for _, s := range streams {
		s.goesOn(t, while)
	}
}

func requireNoLoss(t *testing.T, streams []*stream) {
	t.Helper()
	for _, s := range streams {
		if s.lost(t) > 0 {
			t.Errorf("%s lost frames", s.what)
		}
	}
}

// TestZeroCopyStopped: a daemon that is stopped as a whole, its watchdog
// included, takes nothing from the host, however many frames come for its ports;
// it goes on when it is continued, and every frame is accounted for.
func TestZeroCopyStopped(t *testing.T) {
	s := newSiege(t)
	stopFor(t, s.daemon, 50*time.Millisecond, func() { s.send(t, "while the daemon stands still") })
	s.end(t)
	if full := ask(t, s.client()).Kernel.Sockets[0].RxRingFull; full == 0 {
		t.Error("its receive ring was never full")
	}
}

// TestZeroCopyHangs: the watchdog takes the queue from a worker that stands
// still while the daemon runs, and the daemon gives it back when it does not.
func TestZeroCopyHangs(t *testing.T) {
	s := newSiege(t)
	says := func(what string) {
		t.Helper()
		nictest.Eventually(t, "the daemon to say: "+what, func() bool { return strings.Contains(s.daemon.Output(), what) })
	}
	release := stopThread(t, s.workerThread(t))
	s.send(t, "while a worker stands still")
	says("made no progress for 20ms; the queue is the host's alone until it does")
	release()
	says("the workers go round again, and the queues are served again")
	requireZeroCopy(t, s.machine)
	s.end(t)
}

// siege is a machine in zero-copy to which many frames come, while the host's
// own traffic, of which nothing may be lost, goes on.
type siege struct {
	*machine
	pings []*stream
	wire  *rawSocket
	to    path
	sent  int
}

func newSiege(t *testing.T) *siege {
	m := newMachine(t, nictest.Config{Containers: 1})
	m.attach("--zero-copy", "on", "--ring-size", "512")
	m.add(0, "a", a4+"/16,"+a6+"/64")
	ping(t, m.Wire, a4)
	s := &siege{machine: m, pings: hostPings(t, m), wire: openRaw(t, m.Wire, m.WireNIC),
		to: path{src: m.Wire.MAC(t, m.WireNIC), dst: m.Host.MAC(t, m.NIC)}.between(wire4, a4)}
	goOn(t, s.pings, "before the siege")
	return s
}

// send sends more frames than the daemon has packet memory.
func (s *siege) send(t *testing.T, while string) {
	t.Helper()
	for range 2 {
		for range 600 {
			s.wire.send(t, marked(s.to.udp(t, 100), s.sent))
			s.sent++
		}
		goOn(t, s.pings, while)
	}
}

// end requires that all is well again, and that nothing of the host's was lost.
func (s *siege) end(t *testing.T) {
	t.Helper()
	ping(t, s.Wire, a4)
	goOn(t, s.pings, "afterwards")
	requireNoLoss(t, s.pings)
	now := atRest(t, s.client())
	requireConserved(t, now)
	t.Logf("%d frames came at once; sockets %+v", s.sent, now.Kernel.Sockets)
}

// workerThread is the daemon's thread that waits for its AF_XDP socket.
func (s *siege) workerThread(t *testing.T) (tid int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", s.daemon.Cmd.Process.Pid)
	var waits []string // beginnings of /proc/PID/task/TID/syscall
	for socket := range xdpSockets(t, s.machine) {
		infos, _ := filepath.Glob(dir + "/fdinfo/*")
		for _, info := range infos {
			text, _ := os.ReadFile(info)
			if regexp.MustCompile(fmt.Sprintf(`(?m)^tfd:\s+%d\s`, socket)).Match(text) {
				epoll, _ := strconv.Atoi(filepath.Base(info))
				waits = append(waits, fmt.Sprintf("%d 0x%x ", unix.SYS_EPOLL_PWAIT, epoll), fmt.Sprintf("%d 0x%x ", unix.SYS_EPOLL_PWAIT2, epoll))
			}
		}
	}
	nictest.Eventually(t, "a worker to wait", func() bool {
		calls, _ := filepath.Glob(dir + "/task/*/syscall")
		for _, call := range calls {
			text, _ := os.ReadFile(call)
			if slices.ContainsFunc(waits, func(w string) bool { return strings.HasPrefix(string(text), w) }) {
				tid, _ = strconv.Atoi(filepath.Base(filepath.Dir(call)))
				return true
			}
		}
		return false
	})
	return tid
}

// stopThread stops one thread of another process until release is called.
func stopThread(t *testing.T, tid int) (release func()) {
	t.Helper()
	stopped, let, done := make(chan error), make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // the tracer is a thread; it ends here, and with it whatever it traces goes on
		err := unix.PtraceSeize(tid)
		if err == nil {
			err = unix.PtraceInterrupt(tid)
		}
		if err == nil {
			_, err = unix.Wait4(tid, nil, unix.WALL, nil)
		}
		stopped <- err
		<-let
		done <- unix.PtraceDetach(tid)
	}()
	if err := <-stopped; err != nil {
		t.Fatalf("stop thread %d: %v", tid, err)
	}
	return func() {
		close(let)
		if err := <-done; err != nil {
			t.Errorf("release thread %d: %v", tid, err)
		}
	}
}

// TestNoZeroCopy: where the driver cannot, on is refused, and auto copies.
func TestNoZeroCopy(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	before := nictest.Snapshot(t, m.Host)
	m.refused(refusal{"zero-copy", failed, []string{"attach", m.NIC, "--zero-copy", "on"}, []string{m.NIC, "zero-copy"}})
	for _, line := range nictest.Diff(before, nictest.Snapshot(t, m.Host)) {
		t.Error(line)
	}
	m.attach("--zero-copy", "auto")
	if out := m.daemon.Output(); !strings.Contains(out, ", native, copy, ") || !strings.Contains(out, "no zero-copy") {
		t.Errorf("the daemon said:\n%s", out)
	}
	m.add(0, "a", a4+"/16,"+a6+"/64")
	for _, to := range []string{a4, a6} {
		ping(t, m.Wire, to)
		ping(t, m.Host, to)
	}
	ping(t, m.Containers[0], wire4, "-s", "1472", "-M", "do")
	requireConserved(t, atRest(t, m.client()))
	t.Logf("the daemon said:\n%s", m.daemon.Output())
	m.detach()

}
