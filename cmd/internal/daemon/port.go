package daemon

import (
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
	"github.com/xdpdemux/xdpdemux/cmd/internal/neighbour"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// port is one port as the daemon holds it: what was asked for, and each thing
// that was made for it. All of it is guarded by Daemon.mu.
type port struct {
	spec  api.PortSpec // with defaults
	id    identity.Identity
	state api.PortState
	fault string // why state is not ready

	// What follows is zero until made, and takeDown unmakes what is not zero:
	// one way down for a port that is half made and for one that is whole.
	queue   queue
	slot    demux.PortID
	joined  bool            // MAC and groups on the NIC
	steered bool            // rules in the XDP program
	routed  bool            // routes over the host port
	hops    []neighbour.Hop // gateways in use

	where state.Facts // what finds the queue again; outlives it
}

func newPort(spec api.PortSpec) *port {
	return &port{spec: spec, id: identity.Of(spec), state: api.StateFailed}
}

// mac is the address that the port's interface bears on a NIC with that one.
func (p *port) mac(nic api.MAC) api.MAC {
	if p.id.IsMAC() {
		return p.id.MAC
	}
	return nic
}

func (p *port) mtu(nic int) int {
	switch {
	case p.spec.MTU != 0:
		return p.spec.MTU
	case p.spec.Kind == api.KindMemif:
		return min(nic, api.MaxMemifMTU)
	}
	return nic
}

// rules are what the XDP program must know of the port.
func (p *port) rules() (rules []xdp.Rule) {
	kind := xdp.RuleIPIdentity
	if p.id.IsMAC() {
		kind = xdp.RuleMACIdentityIP
		rules = append(rules, xdp.Rule{Kind: xdp.RuleMAC, VLAN: p.id.VLAN, MAC: p.id.MAC})
	}
	for _, prefix := range p.id.Owned() {
		rules = append(rules, xdp.Rule{Kind: kind, VLAN: p.id.VLAN, Prefix: prefix})
	}
	return rules
}

// routes are the destinations that the host reaches over the host port: none
// in a VLAN, of which the host is no member.
func routesOf(id identity.Identity) (dst []netip.Prefix) {
	if id.VLAN != 0 {
		return nil
	}
	for _, prefix := range id.Owned() {
		if !prefix.Addr().IsLinkLocalUnicast() {
			dst = append(dst, prefix)
		}
	}
	return dst
}

// switchConfig is the port as the switch shall see it.
func (d *Daemon) switchConfig(p *port) demux.PortConfig {
	cfg := demux.PortConfig{
		Name: p.spec.Name, MAC: p.id.MAC, VLAN: p.id.VLAN, Addrs: p.id.Owned(),
		NextHops: p.spec.Gateways, MTU: p.mtu(d.facts.MTU), Foreign: d.kinds[p.spec.Kind].foreign(), NoSourceCheck: p.spec.NoSourceCheck,
	}
	cfg.Lanes = d.lanes(p.queue)
	return cfg
}

// lanes is one lane for each worker. A queue may have fewer: an interface that an
// earlier daemon with fewer workers made does, for one. Then the switch hands
// frames from one worker to another.
func (d *Daemon) lanes(q queues.Queue) []demux.Lane {
	lanes := make([]demux.Lane, d.crew.size())
	for i := range min(q.Lanes(), len(lanes)) {
		lanes[i] = q.Lane(i)
	}
	return lanes
}

func (d *Daemon) owner(name string) string { return ownerOf(d.cfg.NIC, name) }

// facts is what the next start needs to find the port's things again.
func (p *port) facts(nic api.MAC) state.Fact {
	facts := p.where
	facts.Slot, facts.Generation, facts.MAC, facts.LinkLocal = p.slot.Slot, p.slot.Gen, p.mac(nic), p.id.LinkLocal
	return state.Fact{Name: p.spec.Name, Facts: facts}
}

// view is the port as the control API shows it.
func (d *Daemon) view(p *port) api.Port {
	v := api.Port{
		PortSpec: p.spec.Clone(), EffectiveMAC: p.mac(d.mac()), EffectiveMTU: p.mtu(d.facts.MTU),
		LinkLocal: p.id.LinkLocal, Slot: p.slot.Slot, Generation: p.slot.Gen,
		State: p.state, Error: p.fault, NetNSInode: p.where.NetNSInode,
	}
	v.Secret = ""
	if p.queue != nil {
		p.queue.show(&v)
	}
	return v
}

// fail records why the port does not work.
func (p *port) fail(err error) {
	p.state, p.fault = api.StateFailed, err.Error()
	if noNetNS(err) {
		p.state = api.StateNoNetNS
	}
}
