package client_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// testpmd is DPDK's own program, as a memif server.
type testpmd struct {
	t      *testing.T
	cmd    *exec.Cmd
	socket string
	ended  chan struct{}

	mu   sync.Mutex
	said bytes.Buffer
	rx   uint64 // the last of its RX-packets figures
}

// startTestpmd runs it in a forwarding mode with so many queues. It is told our
// buffer size: with a larger one of its own, DPDK 22.11 writes beyond our
// buffers. It flushes no queue, since we may send before it forwards. More
// arguments are the program's, such as txpkts.
func startTestpmd(t *testing.T, mode string, queues, buffer int, more ...string) *testpmd {
	t.Helper()
	path, err := exec.LookPath("dpdk-testpmd")
	if err != nil {
		nstest.Missing(t, "dpdk-testpmd (Debian package dpdk-dev)")
	}
	p := &testpmd{t: t, socket: filepath.Join(t.TempDir(), "m"), ended: make(chan struct{})}
	vdev := fmt.Sprintf("--vdev=net_memif0,role=server,id=0,socket=%s,socket-abstract=no,secret=s3cret,bsize=%d", p.socket, buffer)
	args := []string{"--lcores", lcores(t), "--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry",
		vdev, "--", "--no-flush-rx", "--total-num-mbufs=16384", "--no-mlockall", "--stats-period=1", "--port-topology=loop",
		"--forward-mode=" + mode, fmt.Sprintf("--rxq=%d", queues), fmt.Sprintf("--txq=%d", queues)}
	p.cmd = exec.Command(path, append(args, more...)...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
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

var rxPackets = regexp.MustCompile(`RX-packets: +(\d+)`)

func (p *testpmd) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		p.mu.Lock()
		p.said.Write(lines.Bytes())
		p.said.WriteByte('\n')
		if m := rxPackets.FindSubmatch(lines.Bytes()); m != nil {
			p.rx, _ = strconv.ParseUint(string(m[1]), 10, 64)
		}
		p.mu.Unlock()
	}
	_ = p.cmd.Wait()
	close(p.ended)
}

func (p *testpmd) received() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rx
}

// end stops it as a user would. It comes before the client's Close: DPDK 22.11
// may crash when a client leaves it.
func (p *testpmd) end() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.ended
		p.t.Error("testpmd did not end when it was asked to")
	}
	if p.t.Failed() {
		p.t.Logf("testpmd said:\n%s", p.said.String())
	}
}

// dial connects. The connection ends after testpmd does.
func (p *testpmd) dial(cfg client.Config) *client.Conn {
	p.t.Helper()
	cfg.Secret = "s3cret"
	c, err := p.try(cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		p.end()
		c.Close()
	})
	return c
}

// try connects once testpmd listens, and once its port has started: until then
// it knows no id.
func (p *testpmd) try(cfg client.Config) (*client.Conn, error) {
	cfg.Socket = p.socket
	ctx := within(p.t)
	for {
		c, err := client.Dial(ctx, cfg)
		var refused *client.RefusedError
		early := errors.As(err, &refused) && refused.Reason == "ID not found" && cfg.ID == 0
		if !early && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return c, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-p.ended:
			return nil, errors.New("testpmd ended")
		case <-ctx.Done():
			return nil, err
		}
	}
}

// TestTestpmdSends: what testpmd generates is read, by a client that sleeps and
// by one that polls.
func TestTestpmdSends(t *testing.T) {
	for _, polling := range []bool{false, true} {
		p := startTestpmd(t, "txonly", 1, 2048, "--txpkts=64")
		c := p.dial(client.Config{Polling: polling})
		bufs := client.Buffers(64, 2048)
		for got := 0; got < 200_000; {
			n, err := c.Ring(0).ReadContext(within(t), bufs)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range bufs[:n] {
				if len(f) != 64 || f[12] != 8 || f[13] != 0 || f[14] != 0x45 {
					t.Fatalf("a frame of %d bytes: %x", len(f), f)
				}
			}
			got += n
		}
		if s := c.Ring(0).Stats(); s.Malformed != 0 || s.Oversize != 0 {
			t.Errorf("counted %+v", s)
		}
		p.end()
		<-c.Done()
		var gone *client.DisconnectedError
		if err := c.Err(); !errors.As(err, &gone) {
			t.Errorf("after testpmd ended: %v", err)
		}
	}
}

// TestTestpmdReceives exactly what was written.
func TestTestpmdReceives(t *testing.T) {
	const frames = 200_000
	p := startTestpmd(t, "rxonly", 1, 2048)
	c := p.dial(client.Config{})
	if err := clientWrites(within(t), c.Ring(0), 1, frames, 300); err != nil {
		t.Fatal(err)
	}
	eventually(t, "testpmd counts all frames", func() bool { return p.received() == frames })
}

// TestTestpmdForwards: frames go there and come back, on every ring, in order and
// with every byte, as chains where the buffers are small.
func TestTestpmdForwards(t *testing.T) {
	for _, c := range []struct {
		mode                           string
		rings, slots, buffer           int
		largest, rounds, frames, swaps int
	}{
		{"io", 1, 1024, 2048, 1514, 2200, 32, 0}, // 70,400 frames: both indices wrap
		{"macswap", 1, 1024, 2048, 1514, 100, 32, 1},
		{"macswap", 2, 512, 2048, 300, 100, 32, 1},
		{"macswap", 4, 64, 2048, 300, 100, 16, 1},
		{"io", 1, 1024, 256, 1514, 100, 32, 0}, // up to 6 slots a frame, 192 of 1024
	} {
		t.Run(fmt.Sprintf("%s %d rings %d slots of %d bytes", c.mode, c.rings, c.slots, c.buffer), func(t *testing.T) {
			p := startTestpmd(t, c.mode, c.rings, c.buffer)
			conn := p.dial(client.Config{Rings: c.rings, RingSize: c.slots, BufferSize: c.buffer})
			var side sync.WaitGroup
			for i := range c.rings {
				side.Go(func() {
					check(t, thereAndBack(within(t), conn.Ring(i), uint16(i), c.rounds, c.frames, c.largest, c.swaps == 1))
				})
			}
			side.Wait()
		})
	}
}

// thereAndBack never has more frames under way than the rings hold, for testpmd
// drops what finds no room.
func thereAndBack(ctx context.Context, r *client.Ring, stream uint16, rounds, frames, largest int, swaps bool) error {
	out, in := client.Buffers(frames, largest), client.Buffers(frames, largest)
	sent, got := uint64(0), uint64(0)
	src, dst := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}
	for range rounds {
		for i := range out {
			out[i] = out[i][:sizeOf(sent, largest)]
			number(out[i], stream, sent)
			copy(out[i], dst[:])
			copy(out[i][6:], src[:])
			sent++
		}
		if _, err := r.WriteContext(ctx, out); err != nil {
			return err
		}
		for got < sent {
			n, err := r.ReadContext(ctx, in)
			if err != nil {
				return fmt.Errorf("after %d frames: %w", got, err)
			}
			for _, f := range in[:n] {
				if err := verify(f, stream, got, sizeOf(got, largest)); err != nil {
					return err
				}
				if swapped := bytes.Equal(f[:6], src[:]); swapped != swaps {
					return fmt.Errorf("frame %d came back to %x", got, f[:6])
				}
				got++
			}
		}
	}
	return nil
}

// TestTestpmdRefuses in words that reach the caller.
func TestTestpmdRefuses(t *testing.T) {
	p := startTestpmd(t, "rxonly", 1, 2048)
	refused(t, p, client.Config{Secret: "guess"}, "Incorrect secret")
	refused(t, p, client.Config{}, "Secret required")
	refused(t, p, client.Config{ID: 9, Secret: "s3cret"}, "ID not found")
	p.dial(client.Config{})
	refused(t, p, client.Config{Secret: "s3cret"}, "Already connected")
}

func refused(t *testing.T, p *testpmd, cfg client.Config, want string) {
	t.Helper()
	_, err := p.try(cfg)
	var refusal *client.RefusedError
	if !errors.As(err, &refusal) || refusal.Message != "INIT" || refusal.Reason != want {
		t.Errorf("%q: %v", want, err)
	}
}
