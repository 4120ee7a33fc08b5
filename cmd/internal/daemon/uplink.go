package daemon

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
	"github.com/xdpdemux/xdpdemux/cmd/internal/undo"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// uplink is what is bound to the device itself, and dies with it when it is
// removed: the attached program and the sockets. Ports, workers and the
// program's maps are not part of it.
type uplink struct {
	mode    xdp.Mode
	sockets []*xdp.Socket
	undo    undo.Stack
}

// openUplink attaches the program and opens a socket on each queue. The
// channels are read again in between, since attaching may change them.
func (d *Daemon) openUplink() (err error) {
	u := &uplink{}
	defer u.undo.RunOnError(&err)
	if err := d.attachProgram(u); err != nil {
		return err
	}
	if d.facts, err = d.nic.Facts(); err != nil {
		return err
	}
	for queue := range served(d.cfg, d.facts) {
		if err := d.at("uplink: socket"); err != nil {
			return err
		}
		if err := d.openSocket(u, queue); err != nil {
			return err
		}
	}
	wire, err := neighbour.OpenSocket(d.nic.Index())
	if err != nil {
		return err
	}
	d.herald.use(wire)
	u.undo.Push("the packet socket", func() error { d.herald.use(nil); return nil })
	go d.listen(wire)
	d.up = u
	return nil
}

func (d *Daemon) attachProgram(u *uplink) error {
	want := map[string]xdp.Mode{config.ModeAuto: xdp.ModeAuto, config.ModeNative: xdp.ModeNative, config.ModeGeneric: xdp.ModeGeneric}
	mode, err := d.prog.Attach(d.nic.Index(), want[d.cfg.Mode])
	var foreign *xdp.ForeignProgramError
	if errors.As(err, &foreign) {
		return api.Errorf(api.CodeConflict, "%s: %w", d.cfg.NIC, err)
	}
	if err != nil {
		return fmt.Errorf("attaching to %s: %w", d.cfg.NIC, err)
	}
	u.mode = mode
	u.undo.Push("the attachment of the XDP program", d.prog.Detach)
	if mode == xdp.ModeGeneric && d.cfg.Mode != config.ModeGeneric {
		return d.prepareGeneric()
	}
	return nil
}

// prepareGeneric switches off as well what harms in generic mode only, where
// the program runs behind the host's own GRO.
func (d *Daemon) prepareGeneric() error {
	more, err := d.nic.Plan(nic.PrepareConfig{Generic: true})
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

func (d *Daemon) openSocket(u *uplink, queue int) error {
	s, err := openWhenFree(d.socketConfig(queue))
	if err != nil {
		return fmt.Errorf("opening an AF_XDP socket on %s: %w", d.cfg.NIC, err)
	}
	u.sockets = append(u.sockets, s)
	u.undo.Push("a socket", s.Close)
	if err := d.prog.SetSocket(queue, s); err != nil {
		return err
	}
	u.undo.Push("a socket's place in the program's map", func() error { return d.prog.ClearSocket(queue) })
	d.guardSocket(u, s)
	return nil
}

// The kernel lets go of a socket's queue some time after its process has died
// (it waits for an RCU grace period in a work queue), so a queue that is busy is
// tried again for a while.
const (
	busyTries = 100
	busyPause = 20 * time.Millisecond
)

func openWhenFree(cfg xdp.SocketConfig) (s *xdp.Socket, err error) {
	for range busyTries {
		s, err = xdp.OpenSocket(cfg)
		if !errors.Is(err, unix.EBUSY) {
			return s, err
		}
		time.Sleep(busyPause)
	}
	return s, err
}

func (d *Daemon) socketConfig(queue int) xdp.SocketConfig {
	zeroCopy := map[string]xdp.ZeroCopy{config.ZeroCopyOff: xdp.ZeroCopyOff, config.ZeroCopyAuto: xdp.ZeroCopyAuto, config.ZeroCopyOn: xdp.ZeroCopyOn}
	return xdp.SocketConfig{
		IfIndex: d.nic.Index(), Queue: queue, Frames: 2 * d.cfg.RingSize, FrameSize: d.cfg.FrameSize,
		ZeroCopy: zeroCopy[d.cfg.ZeroCopy],
	}
}

// closeUplink lets go of the device; the workers have been halted.
func (d *Daemon) closeUplink() error {
	if d.up == nil {
		return nil
	}
	u := d.up
	d.up = nil
	return u.undo.Run()
}

// links are the sockets as the crew wants them; none while the NIC is away.
func (d *Daemon) links() []linked {
	if d.up == nil {
		return nil
	}
	links := make([]linked, len(d.up.sockets))
	for i, s := range d.up.sockets {
		links[i] = s
	}
	return links
}
