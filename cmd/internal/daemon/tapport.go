package daemon

import (
	"errors"
	"fmt"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/queues/netns"
	"github.com/xdpdemux/xdpdemux/queues/tap"
)

// tapKind is the kind of ports that have a TAP interface in a network
// namespace.
type tapKind struct{}

// tapPort is the queue of such a port.
type tapPort struct {
	*tap.Queue
	d       *Daemon
	ns      *netns.NetNS
	watched []watch
}

// watch is a doorbell in a worker's waiter.
type watch struct{ worker, fd int }

func (tapKind) check(*Daemon, *api.PortSpec) error { return nil }

// descriptors: its namespace, and one for each worker.
func (tapKind) descriptors(_ *api.PortSpec, workers int) int { return 1 + workers }

// foreign: a write to a TAP runs the container's own receive path.
func (tapKind) foreign() bool { return true }

func (tapKind) open(d *Daemon, p *port) (_ queue, err error) {
	t := &tapPort{d: d}
	if t.ns, err = openNetNS(p.spec.NetNS, p.where); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.ns.Close())
		}
	}()
	inside, err := t.ns.Identity()
	if err != nil {
		return nil, err
	}
	p.where.NetNSInode, p.where.NetNSCookie = inside.Inode, inside.Cookie
	if t.Queue, err = openTAP(d.tapConfig(p, t.ns)); err != nil {
		return nil, err
	}
	return t, nil
}

// openNetNS opens the namespace of a port: the one that was noted, if any.
func openNetNS(spec string, where state.Facts) (*netns.NetNS, error) {
	was := netns.Identity{Inode: where.NetNSInode, Cookie: where.NetNSCookie}
	switch {
	case spec == "":
		return netns.Self()
	case was != netns.Identity{}:
		return netns.Find(spec, was)
	}
	return netns.Open(spec)
}

// tapConfig is the interface that the port's container shall have.
func (d *Daemon) tapConfig(p *port, ns *netns.NetNS) tap.Config {
	return tap.Config{
		NetNS: ns, Name: p.spec.IfName, Owner: d.owner(p.spec.Name), MAC: p.mac(d.mac()), MTU: p.mtu(d.facts.MTU),
		Lanes: d.crew.size(), Depth: p.spec.Depth, GSO: true, Addrs: p.spec.IPs, LinkLocal: p.id.LinkLocal,
		Gateways: p.spec.Gateways, Steering: d.steering, Rings: d.rings,
	}
}

// openTAP prefers what an earlier daemon left, with the container's own
// settings in it.
func openTAP(cfg tap.Config) (*tap.Queue, error) {
	q, err := tap.Restore(cfg)
	if errors.Is(err, tap.ErrGone) {
		return tap.Open(cfg)
	}
	return q, err
}

func (tapKind) code(err error) api.Code {
	var taken *tap.NameTakenError
	switch {
	case errors.Is(err, netns.ErrVanished):
		return api.CodeGone
	case errors.Is(err, netns.ErrNotFound), errors.Is(err, netns.ErrNotNetNS):
		return api.CodeNotFound
	case errors.As(err, &taken), errors.Is(err, tap.ErrNotOurs), errors.Is(err, tap.ErrInUse):
		return api.CodeConflict
	}
	return ""
}

// noNetNS says that the namespace is why a port does not work.
func noNetNS(err error) bool {
	return errors.Is(err, netns.ErrNotFound) || errors.Is(err, netns.ErrVanished)
}

// clear deletes the interface. Where its namespace is gone, so is the interface.
func (tapKind) clear(cfg config.Attach, spec *api.PortSpec, where state.Facts) error {
	ns, err := openNetNS(spec.NetNS, where)
	if noNetNS(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = ignoreNotOurs(tap.Delete(ns, spec.IfName, ownerOf(cfg.NIC, spec.Name)))
	return errors.Join(err, ns.Close())
}

func (tapKind) leftover(spec *api.PortSpec) string { return "interface " + spec.IfName }

// ignoreNotOurs: an interface of somebody else's bears the name, so ours does
// not exist.
func ignoreNotOurs(err error) error {
	if errors.Is(err, tap.ErrNotOurs) {
		return nil
	}
	return err
}

// watch puts each lane's doorbell before its worker, and the interface under
// the watch over the containers.
func (t *tapPort) watch(p *port) error {
	for i := range t.Lanes() {
		fd := t.Fd(i)
		if err := t.d.crew.waiter(i).AddLane(fd, p.slot.Token()); err != nil {
			return err
		}
		t.watched = append(t.watched, watch{i, fd})
	}
	t.d.owners[t.Queue] = p
	if t.d.watcher == nil {
		return nil
	}
	return t.d.watcher.Add(t.Queue)
}

func (t *tapPort) unwatch() error {
	var errs []error
	for _, w := range t.watched {
		errs = append(errs, t.d.crew.waiter(w.worker).Remove(w.fd))
	}
	t.watched = nil
	if delete(t.d.owners, t.Queue); t.d.watcher != nil {
		t.d.watcher.Remove(t.Queue)
	}
	return errors.Join(errs...)
}

func (t *tapPort) reshape(s shape) error {
	return errors.Join(
		t.SetMTU(s.mtu), t.SetDepth(orDefault(s.depth, tap.DefaultDepth)),
		t.SetAddrs(tap.Addressing{Addrs: s.addrs, LinkLocal: s.linkLocal, Gateways: s.gateways}))
}

func orDefault(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

func (t *tapPort) tend() (string, error) {
	fixed, err := t.Reconcile()
	switch {
	case errors.Is(err, tap.ErrGone):
		return "", errLost
	case err != nil:
		return "", err
	case fixed.MAC || fixed.Addrs+fixed.Routes+fixed.Neighbours > 0:
		return fmt.Sprintf("%d addresses, %d routes and %d neighbours", fixed.Addrs, fixed.Routes, fixed.Neighbours), nil
	}
	return "", nil
}

func (t *tapPort) show(*api.Port) {}

// Close lets go of the interface and of its namespace.
func (t *tapPort) Close() error { return errors.Join(t.Queue.Close(), t.ns.Close()) }

// Remove takes the interface away and lets go of its namespace.
func (t *tapPort) Remove() error { return errors.Join(t.Queue.Remove(), t.ns.Close()) }
