package daemon

import (
	"errors"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/queues"
)

// kinds is the table of the kinds of queue. A new one is a folder under queues,
// a file here, and a line in this table.
func kinds() map[string]kind {
	return map[string]kind{
		api.KindTAP:   tapKind{},
		api.KindMemif: memifKind{},
	}
}

// kind is what the daemon must know of a kind of queue before there is one, and
// after its daemon died.
type kind interface {
	// open makes the port's queue, or adopts the one that an earlier daemon
	// left, and notes in p.where what finds it again. Where it fails, nothing is
	// left but what was there before.
	open(d *Daemon, p *port) (queue, error)
	// check refuses what this daemon could not serve, before anything is touched.
	check(d *Daemon, spec *api.PortSpec) error
	// descriptors is the most that one such port holds.
	descriptors(spec *api.PortSpec, workers int) int
	// foreign says that a delivery runs somebody else's code on our thread.
	foreign() bool
	// code is the sort of failure that an error of this kind is; "" if it is none
	// of this kind's own.
	code(err error) api.Code
	// clear takes away what a daemon that died left of the port. Nothing there
	// is no error.
	clear(cfg config.Attach, spec *api.PortSpec, where state.Facts) error
	// leftover names in a few words what clear takes away.
	leftover(spec *api.PortSpec) string
}

// queue is the queue of one port, with everything that holds it in place.
// Close and Remove give all of that back. Guarded by Daemon.mu.
type queue interface {
	queues.Queue
	// watch has the doorbells ring for the workers under the port's token, from
	// now on. What a failure leaves half done, unwatch undoes.
	watch(p *port) error
	unwatch() error
	// reshape changes what can change in place.
	reshape(s shape) error
	// SetMAC tells of a new MAC of the NIC, which the port shares.
	SetMAC(mac [6]byte) error
	// SetMTU changes the MTU in bytes.
	SetMTU(mtu int) error
	// SetNeighbour has the container know a gateway's MAC; DelNeighbour has it
	// forget it.
	SetNeighbour(ip netip.Addr, mac [6]byte) error
	DelNeighbour(ip netip.Addr) error
	// tend puts back what somebody inside took away, and says what; errLost says
	// that the queue itself must be made anew.
	tend() (repaired string, err error)
	// show adds to the port's view what is this kind's.
	show(p *api.Port)
}

// errLost: what the queue stood on was taken away inside the container.
var errLost = errors.New("its interface was deleted inside")

// shape is what of a queue can change in place.
type shape struct {
	mtu, depth int // depth 0: the kind's default
	addrs      []netip.Prefix
	linkLocal  netip.Addr
	gateways   []netip.Addr
}

func (d *Daemon) shapeOf(p *port) shape {
	return shape{
		mtu: p.mtu(d.facts.MTU), depth: p.spec.Depth,
		addrs: p.spec.IPs, linkLocal: p.id.LinkLocal, gateways: p.spec.Gateways,
	}
}

// kindOf is the kind of a spec that holds its defaults.
func (d *Daemon) kindOf(spec *api.PortSpec) (kind, error) {
	if k := d.kinds[spec.Kind]; k != nil {
		return k, nil
	}
	return nil, noSuchKind(spec)
}

// noSuchKind is for a port that a later release made.
func noSuchKind(spec *api.PortSpec) error {
	return api.Errorf(api.CodeUnsupported, "port %s: this build has no queues of kind %s", spec.Name, spec.Kind).WithHint("use --kind tap")
}

// clearPort takes away what a daemon that died left of a remembered port.
func clearPort(cfg config.Attach, spec api.PortSpec, where state.Facts) (what string, err error) {
	spec = spec.WithDefaults()
	k := kinds()[spec.Kind]
	if k == nil {
		return "what is there", noSuchKind(&spec)
	}
	return k.leftover(&spec), k.clear(cfg, &spec, where)
}
