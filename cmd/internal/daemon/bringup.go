package daemon

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/hostroute"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/queues/netns"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// stage is one step of bringing ports up. The kernel's rules come late, so
// that no frame is diverted for a port that has no place to put it.
type stage struct {
	name string
	do   func([]*port) error
}

func (d *Daemon) stages() []stage {
	return []stage{
		{"connect", d.connect}, {"watch", d.watch}, {"join", d.join},
		{"steer", d.steer}, {"route", d.route}, {"resolve", d.resolve},
	}
}

// bringUp makes everything for ports whose queues are open, all or nothing: on
// an error every one of them is taken down.
func (d *Daemon) bringUp(ports []*port) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, d.takeDown(ports))
		}
	}()
	for _, s := range d.stages() {
		if err := d.at("port: " + s.name); err != nil {
			return err
		}
		if err := s.do(ports); err != nil {
			return err
		}
	}
	for _, p := range ports {
		p.state, p.fault = api.StateReady, ""
	}
	return nil
}

// openQueue makes the port's queue, or adopts the one that an earlier daemon
// left.
func (d *Daemon) openQueue(p *port) error {
	if err := d.at("port: open"); err != nil {
		return err
	}
	k, err := d.kindOf(&p.spec)
	if err != nil {
		return err
	}
	q, err := k.open(d, p)
	if err != nil {
		return d.portError(p, err)
	}
	p.queue = q
	return nil
}

// portError names the port, keeps the error for errors.Is and gives it the
// code that the command line needs.
func (d *Daemon) portError(p *port, err error) error {
	e := api.Errorf(d.code(p, err), "port %s: %w", p.spec.Name, err)
	if errors.Is(err, netns.ErrNotFound) || errors.Is(err, netns.ErrNotNetNS) {
		return e.WithHint("give a name that 'ip netns' lists, the PID of a process in it, or a path to it")
	}
	return e
}

func (d *Daemon) code(p *port, err error) api.Code {
	if c := d.kinds[p.spec.Kind].code(err); c != "" {
		return c
	}
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return api.CodeLimit
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return api.CodePermission
	}
	return api.CodeFailed
}

// connect gives the ports their places on the switch, in one snapshot.
func (d *Daemon) connect(ports []*port) error {
	configs := make([]demux.PortConfig, len(ports))
	for i, p := range ports {
		configs[i] = d.switchConfig(p)
	}
	ids, err := d.sw.Attach(configs...)
	if errors.Is(err, demux.ErrTooMany) {
		return api.Errorf(api.CodeLimit, "%w (%d)", err, d.cfg.MaxPorts).WithHint("delete ports, or attach with a larger --max-ports")
	}
	if err != nil {
		return err
	}
	for i, p := range ports {
		p.slot = ids[i]
	}
	return nil
}

// watch has the ports' doorbells wake their workers.
func (d *Daemon) watch(ports []*port) error {
	for _, p := range ports {
		if err := p.queue.watch(p); err != nil {
			return d.portError(p, err)
		}
	}
	return nil
}

// join makes the NIC take in frames for the ports' MACs and for the groups in
// which their neighbours ask for them. While the NIC is away that is noted.
func (d *Daemon) join(ports []*port) error {
	for _, p := range ports {
		macs, groups := accepts(p.id)
		if err := d.nic.AddMACs(macs...); err != nil {
			return d.portError(p, err)
		}
		if err := d.nic.JoinGroups(groups...); err != nil {
			return errors.Join(d.portError(p, err), d.nic.RemoveMACs(macs...))
		}
		p.joined = true
	}
	return nil
}

// unjoin undoes join for one identity.
func (d *Daemon) unjoin(id identity.Identity) error {
	macs, groups := accepts(id)
	return errors.Join(d.nic.RemoveMACs(macs...), d.nic.LeaveGroups(groups...))
}

// accepts are the addresses that the NIC must take in for an identity.
func accepts(id identity.Identity) (macs, groups [][6]byte) {
	if id.IsMAC() {
		macs = append(macs, id.MAC)
	}
	for _, prefix := range id.Owned() {
		if group, ok := nic.SolicitedNodeGroup(prefix.Addr()); ok && prefix.IsSingleIP() {
			groups = append(groups, group)
		}
	}
	return macs, groups
}

// steer lets the XDP program divert the ports' frames.
func (d *Daemon) steer(ports []*port) error {
	var rules []xdp.Rule
	for _, p := range ports {
		rules = append(rules, p.rules()...)
	}
	if err := d.prog.Insert(rules...); err != nil {
		return err
	}
	for _, p := range ports {
		p.steered = true
	}
	return nil
}

// route leads the host to the ports.
func (d *Daemon) route(ports []*port) error {
	if d.host == nil {
		return nil
	}
	for _, p := range ports {
		p.routed = true // also where it fails half way: removing what is not there is no error
		if err := d.host.routes.Set(d.source(), routesOf(p.id)...); err != nil {
			return d.portError(p, err)
		}
	}
	return nil
}

// resolve finds the MACs of the ports' gateways.
func (d *Daemon) resolve(ports []*port) error {
	for _, p := range ports {
		if err := d.useGateways(p); err != nil {
			return d.portError(p, err)
		}
	}
	return nil
}

func macOn(id identity.Identity, nic api.MAC) api.MAC {
	if id.IsMAC() {
		return id.MAC
	}
	return nic
}

func (d *Daemon) source() hostroute.SourceFunc { return hostroute.Source(d.facts.Addrs) }
