package daemon

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// Plan says what Attach would choose and change, and why it would fail, and
// touches nothing.
func Plan(cfg config.Attach) (api.Plan, error) {
	device, err := nic.Open(cfg.NIC)
	if err != nil {
		return api.Plan{}, nicError(err)
	}
	defer device.Close()
	facts, err := device.Facts()
	if err != nil {
		return api.Plan{}, err
	}
	p := choose(cfg, facts)
	p.Mode, p.ZeroCopy = cfg.Mode, cfg.ZeroCopy
	record, err := device.Plan(nic.PrepareConfig{Generic: cfg.Mode == config.ModeGeneric})
	if err != nil {
		return p, err
	}
	p.Changes = changes(record)
	p.Refusals = refusals(cfg, facts)
	p.Adopted, err = adopted(cfg)
	return p, err
}

// choose fills in what follows from the settings and the device.
func choose(cfg config.Attach, facts nic.Facts) api.Plan {
	queues := served(cfg, facts)
	workers := workerCount(cfg, queues)
	p := api.Plan{
		NIC: cfg.NIC, Driver: facts.Driver, MAC: api.MAC(facts.MAC), MTU: facts.MTU, Queues: queues, Workers: workers,
		RingSize: cfg.RingSize, FrameSize: cfg.FrameSize,
		MemoryBytes: int64(queues) * 2 * int64(cfg.RingSize) * int64(cfg.FrameSize),
		MaxPorts:    cfg.MaxPorts, DescriptorsNeeded: cfg.MaxPorts*perTAP(workers) + spare, DescriptorsLimit: descriptorLimit(),
		DescriptorsPerPort:        map[string]int{api.KindTAP: perTAP(workers), api.KindMemif: memifKind{}.descriptors(nil, workers)},
		DescriptorsPerMemifClient: memifClientDescriptors(api.DefaultRings),
		WireChecksum:              wireChecksum(cfg, facts), BusyPoll: cfg.BusyPoll,
		Host: staysWithHost(cfg), Changes: []string{}, Warnings: []string{},
	}
	if !cfg.NoHostPort {
		p.HostPort = "xdmx0"
	}
	if p.BusyPoll > 0 {
		p.BusyPollBudget = cfg.BusyPollBudget
	}
	if x := facts.XDP; x != nil && x.Native && !x.Fragments && facts.MTU > pageMTU && cfg.Mode != config.ModeGeneric {
		p.Warnings = append(p.Warnings, fmt.Sprintf("driver %s takes XDP no frames of several buffers: with an MTU of %d it may refuse native mode", facts.Driver, facts.MTU))
	}
	if p.DescriptorsNeeded > p.DescriptorsLimit {
		p.Warnings = append(p.Warnings, fmt.Sprintf("the descriptor limit allows about %d tap ports, fewer than --max-ports",
			max(0, p.DescriptorsLimit-spare)/perTAP(workers)))
	}
	if all := max(1, facts.Channels.Rx); queues < all {
		p.Warnings = append(p.Warnings, fmt.Sprintf("only %d of %d queues are served: frames for ports that arrive on the others go to the host", queues, all))
	}
	return p
}

// pageMTU is an MTU whose frames fit into one buffer of a driver: a page, less what
// XDP keeps in front and the kernel behind.
const pageMTU = 3498

// wireChecksum is what to think of checksums from the wire. A veth is the end of
// another stack, which leaves them unfinished, for nobody looks at them on the way.
func wireChecksum(cfg config.Attach, facts nic.Facts) string {
	if cfg.WireChecksum != config.ChecksumAuto {
		return cfg.WireChecksum
	}
	if facts.Kind == "veth" {
		return config.ChecksumComplete
	}
	return config.ChecksumTrust
}

// tellChoice says what attach obtained.
func (d *Daemon) tellChoice() error {
	p := choose(d.cfg, d.facts)
	p.Mode, p.ZeroCopy = modeName(d.up.mode), config.ZeroCopyOff
	if d.zeroCopy() {
		p.ZeroCopy = config.ZeroCopyOn
	}
	if d.host != nil {
		p.HostPort = d.host.name
	}
	b, why := d.up.busyPolling()
	if p.BusyPoll, p.BusyPollBudget = b.Micros, b.Budget; why != nil {
		d.warnings = append(d.warnings, fmt.Sprintf("no busy polling: %v", why))
	}
	p.Changes = changes(d.record)
	p.Warnings = append(p.Warnings, d.warnings...)
	if why := d.prog.NativeError(); why != nil {
		p.Warnings = append(p.Warnings, fmt.Sprintf("generic mode, which costs more: %v", why))
	}
	if why := d.up.sockets[0].WhyCopy(); why != nil {
		p.Warnings = append(p.Warnings, fmt.Sprintf("no zero-copy: %v", why))
	}
	for _, e := range d.journal.Entries() {
		if e.Phase == state.Ready {
			p.Adopted++
		}
	}
	d.say.Chosen(p)
	return nil
}

// served is how many of the NIC's queues get a socket.
func served(cfg config.Attach, facts nic.Facts) int {
	all := max(1, facts.Channels.Rx)
	if cfg.Queues == 0 {
		return all
	}
	return min(all, cfg.Queues)
}

// workerCount is how many threads there are: as asked, else one a queue, at
// most four and never more than there are processors.
func workerCount(cfg config.Attach, queues int) int {
	if cfg.Workers != 0 {
		return cfg.Workers
	}
	return max(1, min(queues, maxDefaultWorkers, runtime.NumCPU()))
}

func staysWithHost(cfg config.Attach) []string {
	says := []string{
		"every frame that is for no port stays with the host's stack, as before, also while the daemon is stopped or dead",
		"frames of ports pass neither the host's firewall (nftables, iptables, tc) nor tcpdump -i " + cfg.NIC,
	}
	if cfg.WireGSO {
		says = append(says, "but TCP that tap containers send to the wire passes tc's egress hook and is seen by tcpdump (--wire-gso)")
	}
	if !cfg.NoHostPort {
		says = append(says, "the host and its containers reach each other through the host port, where the host's firewall does apply")
	}
	return says
}

func changes(r nic.Record) []string {
	list := []string{}
	for _, off := range r.Off {
		list = append(list, fmt.Sprintf("%s is switched off until detach: %s", off, nic.Why(off)))
	}
	return list
}

// objections are the reasons for which a device cannot be served, as far as they
// can be seen without touching anything.
func objections(cfg config.Attach, facts nic.Facts) []error {
	list := []error{facts.Check(), checkLinkReset(cfg, facts), checkForeign(cfg, facts), checkDriver(cfg, facts), xdp.CheckKernel()}
	return slices.DeleteFunc(list, func(err error) bool { return err == nil })
}

// checkForeign refuses a device that has an XDP program, which is left alone.
func checkForeign(cfg config.Attach, facts nic.Facts) error {
	if facts.XDPMode == "" {
		return nil
	}
	err := xdp.CheckFree(facts.Index)
	var foreign *xdp.ForeignProgramError
	if errors.As(err, &foreign) {
		return api.Errorf(api.CodeConflict, "%s: %w", cfg.NIC, err)
	}
	return err
}

// checkDriver refuses what the driver says that it cannot do.
func checkDriver(cfg config.Attach, facts nic.Facts) error {
	x := facts.XDP
	switch {
	case x == nil:
		return nil
	case cfg.Mode == config.ModeNative && !(x.Native && x.Redirect):
		return api.Errorf(api.CodeUnsupported, "%s: driver %s runs no XDP programs that redirect in native mode", cfg.NIC, facts.Driver).
			WithHint("attach with --mode auto or generic")
	case cfg.ZeroCopy == config.ZeroCopyOn && !x.ZeroCopy:
		return api.Errorf(api.CodeUnsupported, "%s: driver %s cannot do zero-copy", cfg.NIC, facts.Driver).
			WithHint("attach with --zero-copy auto or off")
	}
	return nil
}

// refusals are all reasons for which attach would fail that can be seen
// without touching anything.
func refusals(cfg config.Attach, facts nic.Facts) (list []string) {
	alive, err := control.Discover(cfg.RunDir)
	ours := err == nil && slices.Contains(alive, cfg.NIC)
	if ours {
		list = append(list, fmt.Sprintf("a daemon serves %s already", cfg.NIC))
		facts.XDPProgram, facts.XDPMode = 0, "" // it is that one's
	}
	for _, err := range objections(cfg, facts) {
		list = append(list, err.Error())
	}
	if err := xdp.CheckProgram(); err != nil {
		list = append(list, err.Error())
	}
	return list
}

// adopted is how many ports of an earlier daemon would come back.
func adopted(cfg config.Attach) (int, error) {
	entries, err := state.Peek(cfg.StateDir, cfg.NIC)
	n := 0
	for _, e := range entries {
		if e.Phase == state.Ready {
			n++
		}
	}
	return n, err
}

// checkLinkReset refuses a driver that takes the link down when an XDP program
// comes or goes, unless that was allowed.
func checkLinkReset(cfg config.Attach, facts nic.Facts) error {
	if cfg.AllowLinkReset || !facts.ResetsLink() {
		return nil
	}
	return api.Errorf(api.CodeUnsupported, "%s: its driver %s resets the link when an XDP program comes or goes, which cuts the host off for seconds", cfg.NIC, facts.Driver).
		WithHint("attach with --allow-link-reset if that is acceptable")
}
