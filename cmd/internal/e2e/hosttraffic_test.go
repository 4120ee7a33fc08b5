package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestHostLosesNothing: the host's own address answers a ping every
// millisecond without one loss, and a TCP connection to its own listener
// answers each line, while the daemon attaches, detaches, is killed and
// attaches again.
func TestHostLosesNothing(t *testing.T) {
	nictest.Require(t, "ping")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			m := newMachine(t, nictest.Config{Containers: 2})
			echo := startEcho(t, m)
			flood := m.Wire.Start(t, "ping", "-n", "-i", "0.001", "-W", "2", host4)
			for _, end := range []func(){m.detach, m.kill, m.detach} {
				m.attach("--mode", mode)
				if _, code := m.try("ls"); code == 0 {
					m.ensureAdded(0, "a", a4+"/16")
				}
				ping(t, m.Wire, a4)
				end()
			}
			echo.check(t)
			if err := flood.Stop(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			requireAllAnswered(t, flood.Output(), 1000)
		})
	}
}

func (m *machine) ensureAdded(i int, name, ips string) {
	m.t.Helper()
	if !strings.Contains(m.run("ls"), name) {
		m.add(i, name, ips)
	}
}

var pingSeq = regexp.MustCompile(`icmp_seq=(\d+) ttl`)

// answersOf takes the lines that ping printed and returns how often each request
// was answered, and the last one that was.
func answersOf(out string) (answered map[int]int, last int) {
	answered = map[int]int{}
	for _, found := range pingSeq.FindAllStringSubmatch(out, -1) {
		seq, _ := strconv.Atoi(found[1])
		answered[seq]++
		last = max(last, seq)
	}
	return answered, last
}

// requireAllAnswered takes the lines that ping printed and requires one answer
// for each request, save the last, which may have been under way at the end.
func requireAllAnswered(t *testing.T, out string, atLeast int) {
	t.Helper()
	answered, last := answersOf(out)
	for seq := 1; seq <= last; seq++ {
		if answered[seq] != 1 {
			t.Errorf("request %d of %d was answered %d times", seq, last, answered[seq])
		}
	}
	if last < atLeast {
		t.Errorf("only %d requests: %s", last, out)
	}
}

// echo is a connection from the wire to a listener of the host's own, over
// which a line goes and comes all the time.
type echo struct {
	lines   atomic.Int64
	slowest atomic.Int64 // ns
	failed  atomic.Value
}

func startEcho(t *testing.T, m *machine) *echo {
	t.Helper()
	var listener net.Listener
	var conn net.Conn
	addr := netip.AddrPortFrom(netip.MustParseAddr(host4), 2222).String()
	if err := m.Host.Do(func() (err error) { listener, err = net.Listen("tcp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go serveEcho(listener)
	if err := m.Wire.Do(func() (err error) { conn, err = net.Dial("tcp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	e := new(echo)
	go e.talk(conn)
	return e
}

func serveEcho(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if _, err := fmt.Fprintln(conn, lines.Text()); err != nil {
			return
		}
	}
}

func (e *echo) talk(conn net.Conn) {
	answers := bufio.NewScanner(conn)
	for i := 0; ; i++ {
		began := time.Now()
		if _, err := fmt.Fprintln(conn, i); err != nil || !answers.Scan() || answers.Text() != strconv.Itoa(i) {
			e.failed.Store(fmt.Sprintf("line %d: %v, %v, %q", i, err, answers.Err(), answers.Text()))
			return
		}
		e.lines.Add(1)
		e.slowest.Store(max(e.slowest.Load(), int64(time.Since(began))))
		time.Sleep(time.Millisecond) // the pace of the talk, not a wait for anything
	}
}

// check: a lost segment would have cost TCP's smallest retransmission timeout.
func (e *echo) check(t *testing.T) {
	t.Helper()
	t.Logf("%d lines, the slowest took %v", e.lines.Load(), time.Duration(e.slowest.Load()))
	if f := e.failed.Load(); f != nil || e.lines.Load() < 100 {
		t.Errorf("%d lines, then %v", e.lines.Load(), f)
	}
}
