package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// opening is what Open and Restore work on.
type opening struct {
	cfg   Config
	dev   device
	iface iface
}

func newOpening(cfg Config) (*opening, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	handle, err := newHandle(cfg.NetNS)
	if err != nil {
		return nil, err
	}
	return &opening{
		cfg:   cfg.clone(),
		dev:   device{name: cfg.Name, multi: cfg.Lanes > 1},
		iface: iface{handle: handle, ns: cfg.NetNS},
	}, nil
}

// Open makes the TAP and its interface, up and with everything that cfg asks
// for. On an error nothing is left of it. Until its very last step the
// interface is not persistent, so a crash leaves nothing either. The errors
// are one line each; a name that is taken is a *NameTakenError.
func Open(cfg Config) (q *Queue, err error) {
	o, err := newOpening(cfg)
	if err != nil {
		return nil, err
	}
	defer o.iface.handle.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, o.dev.discard())
		}
	}()
	if err := o.create(); err != nil {
		return nil, err
	}
	if err := o.configure(); err != nil {
		return nil, err
	}
	return o.queue(), nil
}

func (o *opening) queue() *Queue {
	return &Queue{
		lanes:  o.dev.lanes(o.cfg.MTU, o.cfg.Rings),
		index:  o.iface.index,
		cfg:    o.cfg,
		neighs: map[netip.Addr][6]byte{},
	}
}

// create makes the TAP with all its queues.
func (o *opening) create() error {
	err := o.run(step{"create", func() error {
		return inside(o.cfg.NetNS, func() error { return o.dev.attach(o.cfg.Lanes, true) })
	}})
	if errors.Is(err, unix.EBUSY) {
		return o.nameTaken()
	}
	if err != nil {
		return err
	}
	return o.find()
}

// nameTaken finds out who has the name.
func (o *opening) nameTaken() error {
	link, err := o.iface.handle.LinkByName(o.cfg.Name)
	if err != nil {
		return &NameTakenError{Name: o.cfg.Name, NetNS: nsName(o.cfg.NetNS)}
	}
	return taken(o.cfg.NetNS, o.cfg.Name, link)
}

// find learns the index of the interface that was just made.
func (o *opening) find() error {
	link, err := o.iface.handle.LinkByName(o.cfg.Name)
	if err != nil {
		return fmt.Errorf("find TAP %s in netns %s: %w", o.cfg.Name, nsName(o.cfg.NetNS), err)
	}
	o.iface.index = link.Attrs().Index
	return nil
}

// step is one step of making or restoring an interface.
type step struct {
	name string
	do   func() error
}

// run takes the steps in order; tests make one fail.
func (o *opening) run(steps ...step) error {
	for _, s := range steps {
		if o.cfg.failAt != nil {
			if err := o.cfg.failAt(s.name); err != nil {
				return err
			}
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

// configure makes the new interface what the Config says.
func (o *opening) configure() error {
	i, a := &o.iface, o.cfg.addressing()
	steps := append(o.common(),
		step{"owner", func() error { return i.setOwner(o.cfg.Owner) }},
		step{"qdisc", i.setNoQueue},
		step{"up", i.setUp},
		step{"addrs", func() error { return i.addAddrs(a.prefixes()) }},
		step{"routes", func() error { return i.addDefaults(&a) }},
		step{"persist", func() error { return o.dev.setPersistent(true) }},
	)
	return o.run(steps...)
}

// common are the steps that Open and Restore share; each may be repeated.
func (o *opening) common() []step {
	c, i := &o.cfg, &o.iface
	return []step{
		{"header", func() error { return o.dev.setUp(c.GSO, c.Steering) }},
		{"sysctl", func() error { return setSysctls(c.NetNS, c.Name, c.hasV6()) }},
		{"mac", func() error { return i.setMAC(c.MAC) }},
		{"mtu", func() error { return i.setMTU(c.MTU) }},
		{"depth", func() error { return i.setDepth(c.Depth) }},
	}
}

func (c Config) clone() Config {
	c.Addrs = slices.Clone(c.Addrs)
	c.Gateways = slices.Clone(c.Gateways)
	return c
}

func (c *Config) addressing() Addressing {
	return Addressing{Addrs: c.Addrs, LinkLocal: c.LinkLocal, Gateways: c.Gateways}
}

// isOurs reports whether link is a TAP as attach makes it, with our mark.
func isOurs(link netlink.Link, owner string) bool {
	t, ok := link.(*netlink.Tuntap)
	const flags = netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR
	return ok && t.Mode == netlink.TUNTAP_MODE_TAP && t.Flags&flags == flags &&
		!t.NonPersist && t.Alias == owner
}
