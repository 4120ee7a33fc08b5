package daemon

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// Status is described at api.Service.
func (d *Daemon) Status(context.Context) (api.Status, error) {
	if err := d.enter(); err != nil {
		return api.Status{}, err
	}
	defer d.mu.Unlock()
	s := api.Status{
		NIC: d.cfg.NIC, IfIndex: d.link.Index, IfName: d.link.Name, NICState: d.nicState(),
		Driver: d.facts.Driver, MAC: d.mac(), MTU: d.facts.MTU, Workers: d.crew.size(),
		Ports: len(d.ports), MaxPorts: d.cfg.MaxPorts, Since: d.since, PID: os.Getpid(), Version: d.version,
	}
	if d.up != nil {
		s.Mode, s.Queues, s.ZeroCopy = modeName(d.up.mode), len(d.up.sockets), d.zeroCopy()
	}
	if d.host != nil {
		s.HostPort = d.host.name
	}
	return s, nil
}

func (d *Daemon) nicState() string {
	switch {
	case d.up == nil:
		return api.NICGone
	case !d.link.Running():
		return api.NICDown
	}
	return api.NICUp
}

// zeroCopy says whether every socket obtained it.
func (d *Daemon) zeroCopy() bool {
	return !slices.ContainsFunc(d.up.sockets, func(s *xdp.Socket) bool { return !s.ZeroCopy() })
}

func modeName(m xdp.Mode) string {
	if m == xdp.ModeGeneric {
		return api.ModeGeneric
	}
	return api.ModeNative
}

// Stats is described at api.Service.
func (d *Daemon) Stats(_ context.Context, names []string) (api.Stats, error) {
	if err := d.enter(); err != nil {
		return api.Stats{}, err
	}
	defer d.mu.Unlock()
	if _, err := d.named(names); err != nil {
		return api.Stats{}, err
	}
	t := d.sw.Stats()
	s := api.Stats{
		NIC: d.cfg.NIC, Time: time.Now(), Total: flow(&t.All), Wire: flow(&t.Wire), Host: flow(&t.Host),
		Containers: flow(&t.Ports), Injected: flow(&t.Injected), WireFrames: t.WireFrames, Ports: d.portStats(names),
	}
	var err error
	s.Kernel, err = d.kernelStats()
	return s, err
}

func (d *Daemon) portStats(names []string) []api.PortStats {
	all := []api.PortStats{}
	for _, p := range d.sw.AllPortStats() {
		if p.ID == d.sw.HostID() || len(names) > 0 && !slices.Contains(names, p.Name) {
			continue
		}
		all = append(all, api.PortStats{
			Name: p.Name, RxFrames: p.RxFrames, RxBytes: p.RxBytes, RxDrops: drops(&p.RxDrops),
			Tx: flow(&p.Tx), TxRefused: d.refused(p.Name), SlowLane: p.Slow,
		})
	}
	slices.SortFunc(all, func(a, b api.PortStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// refused is what a port's queue consumed and did not yield.
func (d *Daemon) refused(name string) map[string]uint64 {
	m := map[string]uint64{}
	p := d.ports[name]
	if p == nil || p.queue == nil {
		return m
	}
	s := p.queue.Stats()
	for reason, n := range map[string]uint64{"oversize": s.Oversize, "malformed": s.Malformed, "errors": s.Errors} {
		if n > 0 {
			m[reason] = n
		}
	}
	return m
}

func flow(s *demux.Source) api.Flow {
	return api.Flow{
		Received: s.Received, Bytes: s.Bytes, Delivered: s.Delivered, Flooded: s.Flooded, ToHost: s.ToHost,
		ToWire: s.ToWire, Answered: s.Answered, InFlight: s.InFlight, Drops: drops(&s.Drops),
	}
}

func drops(counts *[demux.NumReasons]uint64) map[string]uint64 {
	m := map[string]uint64{}
	for reason, n := range counts {
		if n > 0 {
			m[demux.Reason(reason).String()] = n
		}
	}
	return m
}

func (d *Daemon) kernelStats() (k api.KernelStats, err error) {
	c, err := d.prog.Counters()
	if err != nil {
		return k, err
	}
	k.Redirected, k.Passed, k.Sockets = redirected(c), passed(c), []api.SocketStats{}
	if d.up == nil {
		return k, nil
	}
	for queue, s := range d.up.sockets {
		st, err := s.Stats()
		if err != nil {
			return k, err
		}
		k.Sockets = append(k.Sockets, socketStats(queue, st))
	}
	return k, nil
}

func redirected(c xdp.Counters) map[string]uint64 {
	return map[string]uint64{
		"mac": c.RedirectedMAC, "ip4": c.RedirectedIP4, "ip6": c.RedirectedIP6, "arp": c.RedirectedARP, "nd": c.RedirectedND,
	}
}

func passed(c xdp.Counters) map[string]uint64 {
	return map[string]uint64{
		"unknown": c.PassedUnknown, "group": c.PassedGroup, "protocol": c.PassedProtocol,
		"tags": c.PassedTags, "malformed": c.PassedMalformed, "no_socket": c.PassedNoSocket,
	}
}

func socketStats(queue int, s xdp.SocketStats) api.SocketStats {
	return api.SocketStats{
		Queue: queue, Received: s.Received, Sent: s.Sent, RxDropped: s.RxDropped, RxInvalidDescs: s.RxInvalid,
		TxInvalidDescs: s.TxInvalid, RxRingFull: s.RxRingFull, FillRingEmpty: s.FillEmpty,
		TxRingEmpty: s.TxEmpty, TxErrors: s.Refused,
	}
}
