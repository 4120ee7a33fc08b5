package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestHostLosesNothing: while the daemon attaches, detaches, is killed and
// attaches again, the host's own traffic loses nothing, IPv4 and IPv6: its
// addresses answer a ping every millisecond, it gets its own pings answered, TCP
// connections that stand go on and new ones are served, both ways, and none has
// to send a segment again for one that was lost.
func TestHostLosesNothing(t *testing.T) {
	nictest.Require(t, "ping")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			m := newMachine(t, nictest.Config{Containers: 2})
			own := watchHost(t, m)
			own.goesOn(t, "before attach")
			for _, end := range []struct {
				name string
				do   func()
			}{{"detach", m.detach}, {"SIGKILL", m.kill}, {"detach", m.detach}} {
				m.attach("--mode", mode)
				m.ensureAdded(0, "a", a4+"/16,"+a6+"/64")
				ping(t, m.Wire, a4)
				ping(t, m.Host, a6)
				own.goesOn(t, "while attached")
				end.do()
				own.goesOn(t, "after "+end.name)
			}
			own.check(t)
		})
	}
}

func (m *machine) ensureAdded(i int, name, ips string) {
	m.t.Helper()
	if !strings.Contains(m.run("ls"), name) {
		m.add(i, name, ips)
	}
}

var pingSeq = regexp.MustCompile(`icmp_seq=(\d+) (?:ttl|hlim)`)

// answersOf takes the lines that ping printed and returns how often each request
// was answered, and the last one that was. The number on the wire has 16 bits
// and begins again after them.
func answersOf(out string) (answered map[int]int, last int) {
	answered = map[int]int{}
	for _, found := range pingSeq.FindAllStringSubmatch(out, -1) {
		seq, _ := strconv.Atoi(found[1])
		for seq < last-1<<15 {
			seq += 1 << 16
		}
		answered[seq]++
		last = max(last, seq)
	}
	return answered, last
}

// hostTraffic is what the host has to do with the wire that is none of the
// daemon's business.
type hostTraffic struct {
	pings []*stream
	conns []*lines
	calls []*calls
}

func watchHost(t *testing.T, m *machine) *hostTraffic {
	t.Helper()
	h := &hostTraffic{pings: []*stream{
		startStream(t, m.Wire, host4, "-i", "0.001"), startStream(t, m.Wire, host6, "-i", "0.001"),
		startStream(t, m.Host, wire4), startStream(t, m.Host, wire6),
	}}
	for _, to := range []string{host4, host6} {
		l := listenLines(t, m.Host, to)
		h.conns = append(h.conns, l.keepTalking(t, m.Wire))
		h.calls = append(h.calls, l.keepCalling(t, m.Wire))
	}
	for _, to := range []string{wire4, wire6} {
		l := listenLines(t, m.Wire, to)
		h.conns = append(h.conns, l.keepTalking(t, m.Host))
		h.calls = append(h.calls, l.keepCalling(t, m.Host))
	}
	return h
}

// goesOn waits until all of it has gone on for a while.
func (h *hostTraffic) goesOn(t *testing.T, when string) {
	t.Helper()
	for _, p := range h.pings {
		p.goesOn(t, when)
	}
	for _, c := range h.conns {
		c.goesOn(t, when)
	}
	for _, c := range h.calls {
		c.goesOn(t, when)
	}
}

func (h *hostTraffic) check(t *testing.T) {
	t.Helper()
	for _, p := range h.pings {
		if p.lost(t) > 0 {
			t.Errorf("%s lost frames", p.what)
		}
	}
	for _, c := range h.conns {
		c.check(t)
	}
	for _, c := range h.calls {
		c.check(t)
	}
}

// lineServer sends back every line of every connection, until the test ends.
type lineServer struct {
	ns       *nictest.NS
	listener net.Listener

	mu      sync.Mutex
	served  int      // connections that ended
	resent  int      // segments that the server sent again on these
	faults  []string // how connections ended that did not end well
	serving sync.WaitGroup
}

func listenLines(t *testing.T, ns *nictest.NS, addr string) *lineServer {
	t.Helper()
	s := &lineServer{ns: ns}
	err := ns.Do(func() (err error) {
		s.listener, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.listener.Close() })
	go s.accept()
	return s
}

func (s *lineServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.serving.Go(func() { s.serve(conn) })
	}
}

func (s *lineServer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewScanner(conn)
	var err error
	for err == nil && in.Scan() {
		_, err = fmt.Fprintln(conn, in.Text())
	}
	again, ierr := resent(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.served++
	s.resent += again
	if err := errors.Join(err, in.Err(), ierr); err != nil {
		s.faults = append(s.faults, err.Error())
	}
}

// check requires that the server's side of each of its connections was well;
// all of them have ended. So many segments may have been sent again: those that
// the clients have got twice.
func (s *lineServer) check(t *testing.T, connections, twice int) {
	t.Helper()
	s.serving.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served != connections || s.resent > twice || len(s.faults) > 0 {
		t.Errorf("the server at %v served %d of %d connections, sent %d segments again: %v",
			s.listener.Addr(), s.served, connections, s.resent, s.faults)
	}
}

// resent is how many segments a connection has sent again for such that were
// lost, connection requests among them: without those of which the peer said
// that it had them already (RFC 2883), for a busy machine's timer may run out
// before an answer that came is looked at.
func resent(conn net.Conn) (n int, err error) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var info *unix.TCPInfo
	cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if err := errors.Join(cerr, err); err != nil {
		return 0, err
	}
	return int(info.Total_retrans) - int(info.Dsack_dups), nil
}

// call opens a connection to the server.
func (s *lineServer) call(from *nictest.NS) (conn net.Conn, err error) {
	err = from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", s.listener.Addr().String(), patience)
		return err
	})
	return conn, err
}

// say sends a line over a connection and awaits that it comes back.
func say(conn net.Conn, in *bufio.Scanner, line string) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return err
	}
	if !in.Scan() || in.Text() != line {
		return fmt.Errorf("%q came back: %w", in.Text(), errors.Join(in.Err(), errors.New("not what was sent")))
	}
	return nil
}

// worker does something again and again beside the test.
type worker struct {
	what string
	did  atomic.Int64
	quit chan struct{}
	end  chan error
}

// startWorker begins to do something each few milliseconds, until it fails.
func startWorker(what string, do func() error) *worker {
	w := &worker{what: what, quit: make(chan struct{}), end: make(chan error, 1)}
	go func() {
		for {
			if err := do(); err != nil {
				w.end <- err
				return
			}
			w.did.Add(1)
			select {
			case <-w.quit:
				w.end <- nil
				return
			case <-time.After(2 * time.Millisecond): // its pace, not a wait for anything
			}
		}
	}()
	return w
}

// goesOn waits until it was done 20 more times.
func (w *worker) goesOn(t *testing.T, when string) {
	t.Helper()
	now := w.did.Load()
	nictest.Eventually(t, w.what+" to go on "+when, func() bool { return w.did.Load() >= now+20 })
}

// stop ends it, and requires that it never failed.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	close(w.quit)
	if err := <-w.end; err != nil {
		t.Errorf("%s, number %d: %v", w.what, w.did.Load(), err)
	}
}

// lines is one connection over which a line goes and comes all the time.
type lines struct {
	*worker
	server *lineServer
	conn   net.Conn
}

func (s *lineServer) keepTalking(t *testing.T, from *nictest.NS) *lines {
	t.Helper()
	conn, err := s.call(from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	in, n := bufio.NewScanner(conn), 0
	return &lines{server: s, conn: conn, worker: startWorker(fmt.Sprint("a connection from ", from.Name, " to ", s.listener.Addr()), func() error {
		n++
		return say(conn, in, strconv.Itoa(n))
	})}
}

// check ends it and requires that it lost no segment.
func (l *lines) check(t *testing.T) {
	t.Helper()
	l.stop(t)
	if n, err := resent(l.conn); n > 0 || err != nil {
		t.Errorf("%s sent %d segments again: %v", l.what, n, err)
	}
	t.Logf("%s: %d lines", l.what, l.did.Load())
	l.conn.Close()
}

// calls are connections, one after the other, each with one line.
type calls struct {
	*worker
	server *lineServer
	resent int // by those who called; read after the end
}

func (s *lineServer) keepCalling(t *testing.T, from *nictest.NS) *calls {
	t.Helper()
	c := &calls{server: s}
	c.worker = startWorker(fmt.Sprint("connections from ", from.Name, " to ", s.listener.Addr()), func() error {
		conn, err := s.call(from)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := say(conn, bufio.NewScanner(conn), "hello"); err != nil {
			return err
		}
		n, err := resent(conn)
		c.resent += n
		return err
	})
	return c
}

// check ends it and requires that the server saw every connection, and neither
// side lost a segment. The server's other connection has ended before.
func (c *calls) check(t *testing.T) {
	t.Helper()
	c.stop(t)
	if c.resent > 0 {
		t.Errorf("%s sent %d segments again", c.what, c.resent)
	}
	c.server.check(t, int(c.did.Load())+1, 0)
	t.Logf("%s: %d", c.what, c.did.Load())
}
