package memif

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
)

// testpmd is DPDK's own program, as a client of ours.
type testpmd struct {
	t     *testing.T
	cmd   *exec.Cmd
	tell  io.Writer
	ended chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
}

// startTestpmd runs it against q and waits until it is connected. Vdev is more
// of the device's arguments, args more of the program's.
func startTestpmd(t *testing.T, q *Queue, vdev string, eal []string, args ...string) *testpmd {
	t.Helper()
	path, err := exec.LookPath("dpdk-testpmd")
	if err != nil {
		nstest.Missing(t, "dpdk-testpmd (Debian package dpdk-dev)")
	}
	abstract := "no"
	if q.cfg.Abstract != "" {
		abstract = "yes"
	}
	device := fmt.Sprintf("--vdev=net_memif0,role=client,socket=%s,socket-abstract=%s%s",
		strings.TrimPrefix(q.SocketPath(), "@"), abstract, vdev)
	all := append([]string{"--lcores", lcores(t), "--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", device}, eal...)
	all = append(all, "--", "--no-flush-rx", "--total-num-mbufs=16384", "--no-mlockall", "--port-topology=loop",
		fmt.Sprintf("--rxq=%d", q.Lanes()), fmt.Sprintf("--txq=%d", q.Lanes()))
	p := &testpmd{t: t, cmd: exec.Command(path, append(all, args...)...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.tell, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.listen(bufio.NewScanner(out))
	t.Cleanup(p.end)
	eventually(t, "testpmd is connected", func() bool { return isConnected(q) || p.over() })
	if p.over() {
		t.Fatalf("testpmd has ended; the queue says %q", q.LastDisconnect())
	}
	return p
}

// lcores puts the main thread on the first processor and the one that forwards
// on the last, which may be the same.
func lcores(t *testing.T) string {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	var cpus []int
	for i := 0; len(cpus) < set.Count(); i++ {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return fmt.Sprintf("0@%d,1@%d", cpus[0], cpus[len(cpus)-1])
}

func (p *testpmd) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		p.mu.Lock()
		fmt.Fprintln(&p.said, lines.Text())
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
	close(p.ended)
}

func (p *testpmd) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// say gives it commands, one a line, which only an interactive one heeds.
func (p *testpmd) say(commands ...string) {
	p.t.Helper()
	for _, c := range commands {
		if _, err := io.WriteString(p.tell, c+"\n"); err != nil {
			p.t.Fatal(err)
		}
	}
}

// end stops it as a user would. It comes before the queue's Close: DPDK 22.11
// may crash when its server leaves.
func (p *testpmd) end() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(generous):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Error("testpmd did not end when it was asked to")
	}
	if p.t.Failed() {
		p.t.Logf("testpmd said:\n%s", p.said.String())
	}
}

// TestTestpmdForwards: what is delivered to testpmd comes back from it, on every
// lane, in order and with every byte, as chains where the buffers are small.
func TestTestpmdForwards(t *testing.T) {
	for _, c := range []struct {
		name, vdev           string
		cfg                  Config
		eal                  []string
		window, largest, all int
	}{
		{"its defaults", ",id=0", Config{}, nil, 32, 1514, 70000}, // both indices wrap
		{"rings of two slots", ",rsize=1", Config{RingSize: 2}, nil, 1, 1514, 2000},
		{"rings of 16384 slots", ",rsize=14", Config{RingSize: 16384}, nil, 64, 1514, 5000},
		{"buffers of 256 bytes", ",bsize=256,rsize=10", Config{}, nil, 16, 1514, 5000},
		{"jumbo frames in buffers of 2048 bytes", "", Config{MaxFrame: 9216}, nil, 8, 5000, 2000},
		{"four rings and an id and a secret", ",id=77,secret=s3cret", Config{Rings: 4, ID: 77, Secret: "s3cret"}, nil, 16, 1514, 2000},
		{"an abstract socket", "", Config{Abstract: "memif-test-" + rand.Text()}, nil, 16, 1514, 2000},
		{"zero-copy", ",zero-copy=yes", Config{AllowUnsealed: true}, []string{"--single-file-segments"}, 16, 1514, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := openQueue(t, newTestServer(t), c.cfg)
			startTestpmd(t, q, c.vdev, c.eal, "--forward-mode=io", "--stats-period=1")
			for i := range q.Lanes() {
				thereAndBack(t, q.Lane(i).(*Lane), uint32(i)<<24, c.window, c.largest, c.all)
			}
			if s := q.Stats(); s.Malformed != 0 || s.Oversize != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// thereAndBack never has more than window frames under way, so that testpmd,
// which drops what finds no room, has room for all.
func thereAndBack(t *testing.T, l *Lane, first uint32, window, largest, all int) {
	t.Helper()
	in := buffers(32, 9216)
	sent, got := 0, 0
	sizeOf := func(n int) int { return 60 + n*7919%(largest-59) }
	for end := time.Now().Add(generous); got < all; {
		for sent < all && sent-got < window {
			f := []frame.Frame{{Data: numbered(first+uint32(sent), sizeOf(sent))}}
			if n, why := l.Deliver(f); n == 0 && why != frame.Full {
				t.Fatalf("frame %d is refused: %d", sent, why)
			} else if n == 0 {
				break // it has not lent its buffers yet
			}
			sent++
		}
		rewind(in)
		n := l.Collect(in, 1<<20)
		for _, f := range in[:n] {
			if !bytes.Equal(f.Data, numbered(first+uint32(got), sizeOf(got))) {
				t.Fatalf("in place of frame %d came %d bytes: % x", got, len(f.Data), f.Data[:min(32, len(f.Data))])
			}
			got++
		}
		if n > 0 {
			end = time.Now().Add(generous)
		} else if time.Now().After(end) {
			t.Fatalf("%d frames were delivered, %d came back", sent, got)
		} else {
			breathe()
		}
	}
}

// TestTestpmdStaleNext: testpmd sends small frames, then frames in two pieces,
// then small ones again, in whose slots it leaves the flag of the pieces.
func TestTestpmdStaleNext(t *testing.T) {
	q := openQueue(t, newTestServer(t), Config{MaxFrame: 9216})
	p := startTestpmd(t, q, ",rsize=6", nil, "-i", "--tx-offloads=0x8000")
	l, in := q.Lane(0), buffers(32, 9216)
	p.say("set fwd txonly")
	for _, phase := range []struct {
		packets    string
		size, wait int
	}{{"64", 64, 1000}, {"1500,1500", 3000, 1000}, {"64", 64, 5000}} {
		p.say("set txpkts "+phase.packets, "start")
		seen := 0
		eventually(t, "frames of "+phase.packets+" come", func() bool {
			rewind(in)
			for _, f := range in[:l.Collect(in, 1<<20)] {
				switch len(f.Data) {
				case phase.size:
					seen++
				case 64, 3000: // still from before
				default:
					t.Fatalf("a frame of %d bytes", len(f.Data))
				}
			}
			return seen >= phase.wait
		})
		p.say("stop")
	}
	if s := q.Stats(); s.Malformed != 0 || s.Oversize != 0 {
		t.Errorf("%+v", s)
	}
}
