package daemon

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
	"github.com/xdpdemux/xdpdemux/cmd/internal/undo"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// uplink is what is bound to the device itself, and dies with it when it is
// removed: the attached program and the sockets. Ports, workers and the
// program's maps are not part of it.
type uplink struct {
	mode    xdp.Mode
	sockets []*xdp.Socket // by queue
	outlets []*xdp.Outlet // by queue; none without --wire-gso
	slots   int           // how many of them frames are redirected to
	undo    undo.Stack    // of the attachment and the packet socket
	close   undo.Stack    // of the sockets
	clear   undo.Stack    // of their places in the program's map
	rescued atomic.Int32  // sockets that the watchdog has taken from their workers
}

// openUplink attaches the program and opens a socket on each queue. The
// channels are read again in between, since attaching may change them.
func (d *Daemon) openUplink() (err error) {
	u := &uplink{}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.shut())
		}
	}()
	if err := d.attachProgram(u); err != nil {
		return err
	}
	if err := d.at("uplink: attached"); err != nil {
		return err
	}
	if d.facts, err = d.nic.Facts(); err != nil {
		return err
	}
	if err := d.openSockets(u); err != nil {
		return err
	}
	if err := d.at("uplink: packet socket"); err != nil {
		return err
	}
	wire, err := neighbour.OpenSocket(d.nic.Index())
	if err != nil {
		return err
	}
	d.herald.use(wire)
	u.undo.Push("the packet socket", func() error { d.herald.use(nil); return nil })
	go d.listen(wire)
	if err := d.at("uplink: open"); err != nil {
		return err
	}
	d.up, d.unserved = u, nil
	return nil
}

// shut takes the sockets off the queues and the program off the device.
func (u *uplink) shut() error { return errors.Join(u.clearSlots(), u.close.Run(), u.undo.Run()) }

// clearSlots leaves all frames to the host from now on.
func (u *uplink) clearSlots() error {
	u.slots = 0
	return u.clear.Run()
}

// serve has the frames of known identities go to the sockets. The workers run:
// nothing must ever go to a zero-copy socket that nobody serves, for its chunks
// carry the host's frames too.
func (d *Daemon) serve() error {
	u := d.up
	if u == nil {
		return nil
	}
	for _, s := range u.sockets[u.slots:] {
		if err := d.at("uplink: slot"); err != nil {
			return err
		}
		if err := d.prog.SetSocket(s.Queue(), s); err != nil {
			return err
		}
		u.clear.Push("a socket's place in the program's map", func() error { return d.prog.ClearSocket(s.Queue()) })
		u.slots++
		d.guardSocket(u, s)
	}
	return nil
}

// unserve is the way back.
func (d *Daemon) unserve() error {
	if d.up == nil {
		return nil
	}
	return d.up.clearSlots()
}

func (d *Daemon) attachProgram(u *uplink) error {
	want := map[string]xdp.Mode{config.ModeAuto: xdp.ModeAuto, config.ModeNative: xdp.ModeNative, config.ModeGeneric: xdp.ModeGeneric}
	mode, err := d.prog.Attach(d.nic.Index(), want[d.cfg.Mode])
	if err != nil {
		return d.attachError(err)
	}
	u.mode = mode
	u.undo.Push("the attachment of the XDP program", d.prog.Detach)
	if mode == xdp.ModeGeneric && d.cfg.Mode != config.ModeGeneric {
		return d.prepareMore(nic.PrepareConfig{Generic: true})
	}
	return nil
}

// attachError says what to do about the program not being attached.
func (d *Daemon) attachError(err error) error {
	var foreign *xdp.ForeignProgramError
	if errors.As(err, &foreign) {
		return api.Errorf(api.CodeConflict, "%s: %w", d.cfg.NIC, err)
	}
	err = fmt.Errorf("attaching to %s: %w", d.cfg.NIC, err)
	if d.cfg.Mode == config.ModeNative && !errors.Is(err, unix.EPERM) {
		return api.Errorf(api.CodeUnsupported, "%w", err).WithHint("attach with --mode auto or generic")
	}
	return err
}

// prepareMore switches off as well what harms and is on, such as what harms in
// generic mode only, where the program runs behind the host's own GRO.
func (d *Daemon) prepareMore(cfg nic.PrepareConfig) error {
	more, err := d.nic.Plan(cfg)
	if err != nil {
		return err
	}
	d.record = d.record.Merge(more)
	if err := d.journal.SaveAttach(d.record); err != nil {
		return err
	}
	_, err = d.nic.Prepare(more)
	return err
}

// openSockets opens those sockets that the served queues lack.
func (d *Daemon) openSockets(u *uplink) error {
	for queue := len(u.sockets); queue < served(d.cfg, d.facts); queue++ {
		if err := d.at("uplink: socket"); err != nil {
			return err
		}
		if err := d.openSocket(u, queue); err != nil {
			return err
		}
	}
	return nil
}

// closeSockets closes all of them; the workers have been halted.
func (u *uplink) closeSockets() error {
	u.sockets, u.outlets = nil, nil
	u.rescued.Store(0)
	return errors.Join(u.clearSlots(), u.close.Run())
}

func (d *Daemon) openSocket(u *uplink, queue int) error {
	s, err := xdp.OpenSocket(d.socketConfig(queue))
	if err != nil {
		return d.socketError(err)
	}
	d.ledger.opened(s)
	u.sockets = append(u.sockets, s)
	u.close.Push("a socket", func() error {
		defer d.ledger.closed(s)
		return s.Close()
	})
	if !d.cfg.WireGSO {
		return nil
	}
	o, err := xdp.OpenOutlet(d.nic.Index())
	if err != nil {
		return fmt.Errorf("opening a second way out of %s: %w", d.cfg.NIC, err)
	}
	u.outlets = append(u.outlets, o)
	u.close.Push("a second way out", o.Close)
	return nil
}

func (d *Daemon) socketError(err error) error {
	var busy *xdp.BusyError
	if errors.As(err, &busy) {
		return api.Errorf(api.CodeConflict, "opening an AF_XDP socket on %s: %w", d.cfg.NIC, err)
	}
	return fmt.Errorf("opening an AF_XDP socket on %s: %w", d.cfg.NIC, err)
}

func (d *Daemon) socketConfig(queue int) xdp.SocketConfig {
	zeroCopy := map[string]xdp.ZeroCopy{config.ZeroCopyOff: xdp.ZeroCopyOff, config.ZeroCopyAuto: xdp.ZeroCopyAuto, config.ZeroCopyOn: xdp.ZeroCopyOn}
	return xdp.SocketConfig{
		IfIndex: d.nic.Index(), Queue: queue, Frames: 2 * d.cfg.RingSize, FrameSize: d.cfg.FrameSize,
		ZeroCopy: zeroCopy[d.cfg.ZeroCopy], BusyPoll: busyPoll(d.cfg), Patience: d.patience,
	}
}

func busyPoll(cfg config.Attach) xdp.BusyPoll {
	if cfg.BusyPoll == 0 {
		return xdp.BusyPoll{}
	}
	return xdp.BusyPoll{Micros: cfg.BusyPoll, Budget: cfg.BusyPollBudget}
}

// busyPolling is what of busy polling is in force on every socket of the uplink,
// and why it is less than what was asked for.
func (u *uplink) busyPolling() (xdp.BusyPoll, error) {
	var all xdp.BusyPoll
	for i, s := range u.sockets {
		b, why := s.BusyPoll()
		if why != nil {
			return xdp.BusyPoll{}, why
		}
		if i == 0 || b.Micros < all.Micros {
			all = b
		}
	}
	return all, nil
}

// closeUplink lets go of the device; the workers have been halted. From one that
// hangs instead the sockets are taken, and their memory is left to it.
func (d *Daemon) closeUplink() error {
	if d.up == nil {
		return nil
	}
	u := d.up
	d.up = nil
	if d.crew != nil && d.crew.runs.Load() {
		return errors.Join(d.ledger.rescue(d.prog), u.undo.Run())
	}
	return u.shut()
}

// links are the sockets as the crew wants them; none while the NIC is away.
func (d *Daemon) links() []linked {
	if d.up == nil {
		return nil
	}
	links := make([]linked, len(d.up.sockets))
	for i, s := range d.up.sockets {
		links[i] = s
		if i < len(d.up.outlets) {
			links[i] = wholeLink{s, d.up.outlets[i]}
		}
	}
	return links
}

// wholeLink is a socket with the second way out beside it.
type wholeLink struct {
	*xdp.Socket
	*xdp.Outlet
}

var _ demux.WholeLink = wholeLink{}
