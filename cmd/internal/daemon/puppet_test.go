package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// A puppet is a daemon in a process of its own, inside the host namespace of a
// rig, that does one order after the other: so it can fail, or die, at any step
// of any of them. The process is this test program, started again.

// puppetEnv holds the configuration of a puppet in its environment.
const puppetEnv = "XDPDEMUX_TEST_PUPPET"

func TestMain(m *testing.M) {
	if cfg := os.Getenv(puppetEnv); cfg != "" {
		os.Exit(obey([]byte(cfg), os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// order is one thing for a puppet to do. At the step number At, counted from 1,
// it fails, or with Kill it dies; 0 is no step.
type order struct {
	Do    string
	At    int
	Kill  bool
	Specs []api.PortSpec
	Name  string
	Patch api.Patch
}

// answer is what became of an order.
type answer struct {
	// Err is the error, "" for none.
	Err string
	// Steps are those that were passed; the last one is where it failed.
	Steps  []string
	Ports  []api.Port
	Status api.Status
	Stats  api.Stats
	// Sockets are what each has of busy polling, in force and, as the kernel says,
	// in microseconds.
	Sockets []xdp.BusyPoll
	// Notices are what the daemon has said since it attached.
	Notices []string
	// Result of apply.
	Result api.ApplyResult
	// Descriptors and Goroutines that the process has.
	Descriptors, Goroutines int
}

// failed says that the puppet came to the step at which it was to fail.
func (a *answer) failed(o order) bool { return o.At > 0 && len(a.Steps) >= o.At }

var errStep = errors.New("this step fails, as it was told to")

// strand is what moves a puppet.
type strand struct {
	cfg   config.Attach
	d     *Daemon
	heard *listener
	order order
	steps []string
}

// hook is called before each step.
func (s *strand) hook(step string) error {
	s.steps = append(s.steps, step)
	if len(s.steps) != s.order.At {
		return nil
	}
	if s.order.Kill {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {} // it is dead in a moment
	}
	return errStep
}

func obey(cfg []byte, in io.Reader, out io.Writer) int {
	s := new(strand)
	if err := json.Unmarshal(cfg, &s.cfg); err != nil {
		return 2
	}
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		s.order, s.steps = order{}, nil
		if err := orders.Decode(&s.order); err != nil {
			return 0
		}
		var a answer
		if err := s.do(&a); err != nil {
			a.Err = err.Error()
		}
		a.Steps, a.Descriptors, a.Goroutines = s.steps, openDescriptors(), runtime.NumGoroutine()
		if err := answers.Encode(a); err != nil {
			return 1
		}
	}
}

func (s *strand) do(a *answer) (err error) {
	ctx := context.Background()
	switch s.order.Do {
	case "attach":
		s.heard = new(listener)
		s.d = newDaemon(s.cfg, s.heard, s.hook)
		return s.d.attach()
	case "detach":
		return s.d.Detach(ctx)
	case "clean up":
		_, err = CleanUp(s.cfg)
	case "add":
		_, err = s.d.Add(ctx, s.order.Specs)
	case "set":
		_, err = s.d.Set(ctx, s.order.Name, s.order.Patch)
	case "delete":
		err = s.d.Delete(ctx, strings.Fields(s.order.Name))
	case "apply":
		a.Result, err = s.d.Apply(ctx, api.ApplyRequest{Ports: s.order.Specs})
	case "ports":
		a.Ports, err = s.d.Ports(ctx)
	case "status":
		a.Status, err = s.status()
		a.Notices = s.heard.all()
	case "status while busy":
		s.d.mu.Lock()
		a.Status, err = s.d.Status(ctx)
		s.d.mu.Unlock()
	case "stats":
		a.Stats, err = s.d.Stats(ctx, nil)
	case "busy poll":
		a.Sockets = s.busyPolls()
	case "rescue":
		s.rescue()
	case "hang":
		err = s.hang()
	}
	return err
}

// status is what is so now, however long another request keeps the lock.
func (s *strand) status() (api.Status, error) {
	if err := s.d.enter(); err != nil {
		return api.Status{}, err
	}
	defer s.d.mu.Unlock()
	return s.d.see(), nil
}

// rescue does what the watchdog does where a worker hangs.
func (s *strand) rescue() {
	s.d.mu.Lock()
	u := s.d.up
	s.d.mu.Unlock()
	if u != nil && len(u.sockets) > 0 {
		s.d.rescue(u, u.sockets[0])
	}
}

// busyPolls asks each socket, and the kernel about each.
func (s *strand) busyPolls() (all []xdp.BusyPoll) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, socket := range s.d.up.sockets {
		b, _ := socket.BusyPoll()
		if prefers, _ := unix.GetsockoptInt(socket.Fd(), unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL); prefers == 0 {
			b.Micros = -1
		}
		all = append(all, b)
	}
	return all
}

// stuck is a link at which a worker hangs.
type stuck struct{ linked }

func (stuck) Recv([]frame.Frame) int { select {} }

// hang has every worker hang from now on.
func (s *strand) hang() error {
	d := s.d
	d.mu.Lock()
	defer d.mu.Unlock()
	had := d.links()
	if err := d.crew.halt(had); err != nil {
		return err
	}
	d.crew.limit = time.Second
	links := make([]linked, len(had))
	for i, l := range had {
		links[i] = stuck{l}
	}
	return d.crew.start(links)
}

// listener is an announcer that remembers.
type listener struct {
	mu      sync.Mutex
	notices []string
}

func (*listener) Chosen(api.Plan)  {}
func (*listener) Ready(api.Status) {}

func (l *listener) Notice(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notices = append(l.notices, line)
}

func (l *listener) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notices)
}

// puppet is the other end of a puppet's strings.
type puppet struct {
	t       *testing.T
	cmd     *exec.Cmd
	orders  *json.Encoder
	answers *json.Decoder
	end     func() error
}

// puppets start puppets for one rig.
type puppets struct {
	t   *testing.T
	rig *nictest.Rig
	cfg config.Attach
}

func newPuppets(t *testing.T, rig *nictest.Rig) *puppets {
	cfg, dir := config.Defaults(), t.TempDir()
	cfg.NIC, cfg.RunDir, cfg.StateDir, cfg.MaxPorts = rig.NIC, filepath.Join(dir, "run"), filepath.Join(dir, "state"), 64
	return &puppets{t, rig, cfg}
}

func (p *puppets) start() *puppet {
	p.t.Helper()
	cfg, err := json.Marshal(p.cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := p.rig.Host.Command(self)
	cmd.Env = append(os.Environ(), puppetEnv+"="+string(cfg))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		p.t.Fatal(err)
	}
	pup := &puppet{p.t, cmd, json.NewEncoder(in), json.NewDecoder(out), in.Close}
	p.t.Cleanup(pup.leave)
	return pup
}

// try gives an order and returns what came of it.
func (p *puppet) try(o order) (a answer) {
	p.t.Helper()
	if err := errors.Join(p.orders.Encode(o), p.answers.Decode(&a)); err != nil {
		p.t.Fatalf("%s %s: %v", o.Do, o.Name, err)
	}
	return a
}

// must gives an order that must succeed.
func (p *puppet) must(o order) answer {
	p.t.Helper()
	a := p.try(o)
	if a.Err != "" {
		p.t.Fatalf("%s %s: %s", o.Do, o.Name, a.Err)
	}
	return a
}

// kills gives an order in which the puppet shall die, and says whether it did.
func (p *puppet) kills(o order) (died bool, a answer) {
	p.t.Helper()
	o.Kill = true
	if err := p.orders.Encode(o); err != nil {
		p.t.Fatal(err)
	}
	if p.answers.Decode(&a) == nil {
		return false, a
	}
	p.leave()
	return true, a
}

// kill ends the puppet as SIGKILL does.
func (p *puppet) kill() {
	_ = p.cmd.Process.Kill()
	p.leave()
}

// leave ends the puppet without a detach.
func (p *puppet) leave() {
	_ = p.end()
	_ = p.cmd.Wait()
}
