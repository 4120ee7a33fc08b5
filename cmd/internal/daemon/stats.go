package daemon

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/demux"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// statusPatience is how long a status waits for what is so now, before it is
// what was so a moment ago.
const statusPatience = time.Second

// Status is described at api.Service. While something takes long it is as of when
// that began, and says so.
func (d *Daemon) Status(ctx context.Context) (api.Status, error) {
	err := d.enterToRead(ctx, statusPatience)
	if err == nil {
		defer d.mu.Unlock()
		return d.see(), nil
	}
	seen := d.seen.Load()
	if seen == nil || api.CodeOf(err) != api.CodeBusy {
		return api.Status{}, err
	}
	s := *seen
	s.Warnings = append(slices.Clone(s.Warnings), "another request is being worked on: this is how things were before it")
	return s, nil
}

// see is the status now, which is remembered.
func (d *Daemon) see() api.Status {
	s := d.status()
	d.seen.Store(&s)
	return s
}

func (d *Daemon) status() api.Status {
	s := api.Status{
		NIC: d.cfg.NIC, IfIndex: d.link.Index, IfName: d.link.Name, NICState: d.nicState(), NICReason: d.nicReason(),
		Driver: d.facts.Driver, MAC: d.mac(), MTU: d.facts.MTU, Workers: d.crew.size(), WireChecksum: wireChecksum(d.cfg, d.facts),
		Ports: len(d.ports), MaxPorts: d.cfg.MaxPorts, Since: d.since, PID: os.Getpid(), Version: d.version, Warnings: d.concerns(),
	}
	if d.up != nil {
		b, _ := d.up.busyPolling()
		s.Mode, s.Queues, s.ZeroCopy, s.BusyPoll = modeName(d.up.mode), len(d.up.sockets), d.zeroCopy(), b.Micros
	}
	if d.host != nil {
		s.HostPort = d.host.name
	}
	return s
}

func (d *Daemon) nicState() string {
	switch {
	case d.up == nil && d.link.Present:
		return api.NICUnserved
	case d.up == nil:
		return api.NICGone
	case !d.link.Running():
		return api.NICDown
	}
	return api.NICUp
}

// nicReason says why frames do not flow, where that can be said.
func (d *Daemon) nicReason() string {
	switch {
	case d.up == nil && d.link.Present && d.unserved != nil:
		return d.unserved.Error()
	case d.up != nil && d.up.rescued.Load() > 0:
		return fmt.Sprintf("%d queues are the host's alone, since a worker hung", d.up.rescued.Load())
	}
	return ""
}

// concerns are what somebody should see to.
func (d *Daemon) concerns() []string {
	list := slices.Clone(d.warnings)
	if d.up != nil {
		if err := d.facts.Check(); err != nil {
			list = append(list, err.Error())
		}
		if want := served(d.cfg, d.facts); want != len(d.up.sockets) {
			list = append(list, fmt.Sprintf("%d of %d queues are served: %s", len(d.up.sockets), want, d.uneven))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.clashes)) {
		list = append(list, "port "+name+": "+d.clashes[name])
	}
	return list
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

// Stats is described at api.Service. It does not wait for requests that change
// something.
func (d *Daemon) Stats(ctx context.Context, names []string) (api.Stats, error) {
	if err := d.known(ctx, names); err != nil {
		return api.Stats{}, err
	}
	t := d.sw.Stats()
	s := api.Stats{
		NIC: d.cfg.NIC, Time: time.Now(), Total: flow(&t.All), Wire: flow(&t.Wire), Host: flow(&t.Host),
		Containers: flow(&t.Ports), Injected: flow(&t.Injected), WireFrames: t.WireFrames, WholeFrames: t.WholeFrames, Ports: d.portStats(names),
	}
	var err error
	s.Kernel, err = d.kernelStats()
	return s, err
}

// known says whether there are ports of these names; it asks nobody where there
// are no names.
func (d *Daemon) known(ctx context.Context, names []string) error {
	select {
	case <-d.left:
		return d.hasDetached()
	default:
	}
	if len(names) == 0 {
		return nil
	}
	if err := d.enterToRead(ctx, readPatience); err != nil {
		return err
	}
	defer d.mu.Unlock()
	_, err := d.named(names)
	return err
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
	sums, err := d.ledger.stats()
	if err != nil {
		return k, err
	}
	for queue, st := range sums {
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
		Queue: queue, Received: s.Received, Sent: s.Sent, Unread: s.Unread, RxDropped: s.RxDropped, RxInvalidDescs: s.RxInvalid,
		TxInvalidDescs: s.TxInvalid, RxRingFull: s.RxRingFull, FillRingEmpty: s.FillEmpty,
		TxRingEmpty: s.TxEmpty, TxErrors: s.Refused,
	}
}
