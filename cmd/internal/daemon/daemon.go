// Package daemon joins the four rooms on one NIC: it attaches, makes ports,
// follows what happens to the device and the host, and gives everything back.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/cmd/internal/undo"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/queues/memif"
	"github.com/xdpdemux/xdpdemux/queues/tap"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// Daemon serves one NIC. Its exported methods are those of api.Service and may
// be called by any goroutine.
type Daemon struct {
	cfg     config.Attach
	version string // of this program
	say     api.Announcer
	hook    func(step string) error // tests fail or kill at a step; nil else

	// Made by attach, in this order, and never changed before detach.
	kinds    map[string]kind
	journal  *state.Store
	nic      *nic.NIC
	prog     *xdp.Program
	steering *tap.Steering
	rings    []*tap.Ring // by worker; none where the kernel has none
	sw       *demux.Switch
	crew     *crew
	herald   *herald
	resolver *neighbour.Resolver
	memif    *memif.Server
	watchdog *xdp.Watchdog
	watcher  *tap.Watcher // nil if the kernel has none

	ledger *ledger
	seen   atomic.Pointer[api.Status] // as it was when the lock was free last
	retry  chan struct{}              // something happened to the NIC: see comeBack
	lost   chan struct{}              // the NIC is not served any more

	background sync.WaitGroup
	stop       chan struct{} // closed to end the background
	left       chan struct{} // closed when detach is over
	leave      sync.Once
	leaveErr   error

	mu         sync.Mutex    // guards what follows, and every change to ports
	undo       undo.Stack    // how to detach
	gone       bool          // detached: nothing may be made any more
	facts      nic.Facts     // as last seen
	link       nic.LinkState // as last told
	record     nic.Record    // what was changed on the NIC
	legacy     bool          // a dead daemon's interfaces may be there that are not ours yet
	warnings   []string      // of attach
	since      time.Time
	up         *uplink           // nil while the NIC is away
	unserved   error             // why up is nil though the NIC is there
	uneven     string            // why not every queue is served
	clashes    map[string]string // ports of which the host has an address, and which
	patience   time.Duration     // with queues that are taken; 0 is the default
	rescues    backoff           // of zero-copy queues
	lastRescue time.Time
	host       *hostPort
	reg        *identity.Registry
	ports      map[string]*port
	owners     map[*tap.Queue]*port // of those that are interfaces
	gateways   map[neighbour.Hop]*gateway
}

// Attach serves the NIC until ctx ends or somebody asks to detach, and gives it
// back as it was found. An error before ready leaves nothing behind.
func Attach(ctx context.Context, cfg config.Attach, version string, say api.Announcer) error {
	d := newDaemon(cfg, say, nil)
	d.version = version
	return d.run(ctx)
}

func newDaemon(cfg config.Attach, say api.Announcer, hook func(string) error) *Daemon {
	return &Daemon{
		cfg: cfg, say: say, hook: hook, kinds: kinds(),
		herald: newHerald(), watchdog: xdp.NewWatchdog(), reg: identity.NewRegistry(), ports: map[string]*port{}, owners: map[*tap.Queue]*port{},
		gateways: map[neighbour.Hop]*gateway{},
		ledger:   newLedger(), retry: make(chan struct{}, 1), lost: make(chan struct{}, 1),
		stop: make(chan struct{}), left: make(chan struct{}),
	}
}

// at passes a step at which a test may want to fail.
func (d *Daemon) at(step string) error {
	if d.hook == nil {
		return nil
	}
	return d.hook(step)
}

// run serves until it is told to end. The control socket is made first, since
// it keeps a second daemon away, and goes last, since its end tells others that
// all else is given back.
func (d *Daemon) run(ctx context.Context) (err error) {
	server, err := control.Listen(control.Config{RunDir: d.cfg.RunDir, NIC: d.cfg.NIC})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutDown(server)) }()
	if err := d.attach(); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(d) }()
	d.ready()
	select {
	case <-ctx.Done():
	case <-d.left:
	case err = <-d.crew.errs:
	case err = <-served:
	}
	return errors.Join(err, d.Detach(context.WithoutCancel(ctx)))
}

// lastAnswers is how long requests under way at the end may take.
const lastAnswers = 5 * time.Second

func shutDown(server *control.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	return server.Shutdown(ctx)
}

func (d *Daemon) ready() {
	d.mu.Lock()
	d.since = time.Now()
	d.mu.Unlock()
	if status, err := d.Status(context.Background()); err == nil {
		d.say.Ready(status)
	}
}

// Detach is described at api.Service. A worker that hangs does not hold it up for
// ever.
func (d *Daemon) Detach(context.Context) error {
	d.leave.Do(func() {
		close(d.stop)
		done := make(chan struct{})
		var err error
		go func() {
			defer close(done)
			err = d.takeApart()
		}()
		select {
		case <-done:
			d.leaveErr = err
		case <-d.hang(done):
			d.leaveErr = d.abandon()
		}
		close(d.left)
	})
	<-d.left
	return d.leaveErr
}

// takeApart ends the background and takes back all that attach did.
func (d *Daemon) takeApart() error {
	d.background.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.undo.Run()
	d.gone = true
	return err
}

// enter takes the lock for a request. One that waited for it while the daemon
// detached is refused: what it made would be left behind.
func (d *Daemon) enter() error {
	d.mu.Lock()
	return d.entered()
}

func (d *Daemon) entered() error {
	if d.gone {
		d.mu.Unlock()
		return d.hasDetached()
	}
	return nil
}

func (d *Daemon) hasDetached() error {
	return api.Errorf(api.CodeNoDaemon, "the daemon of %s has detached", d.cfg.NIC)
}

// readPatience is how long a request that only reads waits for one that changes:
// thousands of ports are added within it.
const readPatience = 30 * time.Second

// enterToRead takes the lock for a request that only reads, which does not wait for
// ever.
func (d *Daemon) enterToRead(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !d.mu.TryLock() {
		select {
		case <-ctx.Done():
			return api.Errorf(api.CodeBusy, "%s: another request is being worked on", d.cfg.NIC).WithHint("try again in a moment")
		case <-time.After(lockPause):
		}
	}
	return d.entered()
}

// lockPause is how often a reader tries to get the lock.
const lockPause = 2 * time.Millisecond

// spawn runs a part of the daemon in the background until stop is closed.
func (d *Daemon) spawn(part func(stop <-chan struct{})) {
	d.background.Add(1)
	go func() {
		defer d.background.Done()
		part(d.stop)
	}()
}

func (d *Daemon) notice(format string, args ...any) { d.say.Notice(fmt.Sprintf(format, args...)) }

// mac is the NIC's own address, as last seen.
func (d *Daemon) mac() api.MAC { return api.MAC(d.facts.MAC) }

// slots are the places of the ports of those names that have one.
func (d *Daemon) slots(names []string) (ids []demux.PortID) {
	for _, name := range names {
		if p := d.ports[name]; p != nil && p.slot != (demux.PortID{}) {
			ids = append(ids, p.slot)
		}
	}
	return ids
}
