package tap

import (
	"errors"
	"fmt"

	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// change runs fn with the interface and a copy of the Config; where fn is
// content, the copy becomes the Config.
func (q *Queue) change(fn func(i *iface, cfg *Config) error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	cfg := q.cfg.clone()
	if err := q.withIface(func(i *iface) error { return fn(i, &cfg) }); err != nil {
		return err
	}
	q.cfg = cfg
	return nil
}

func (q *Queue) withIface(fn func(*iface) error) error {
	handle, err := newHandle(q.cfg.NetNS)
	if err != nil {
		return err
	}
	defer handle.Close()
	return fn(&iface{handle: handle, ns: q.cfg.NetNS, index: q.index})
}

// SetMAC changes the interface's address while it is up. No frame is lost. The
// kernel forgets all neighbours with it, the permanent ones are put back.
func (q *Queue) SetMAC(mac [6]byte) error {
	if err := checkMAC(mac); err != nil {
		return err
	}
	return q.change(func(i *iface, cfg *Config) error {
		cfg.MAC = mac
		if err := i.setMAC(mac); err != nil {
			return err
		}
		link, err := i.link()
		if err != nil || !isUp(link) {
			return err
		}
		_, err = i.repairNeighbours(q.neighs)
		return err
	})
}

// SetMTU changes the interface's MTU, in bytes, and what Deliver takes. No
// frame is lost.
func (q *Queue) SetMTU(mtu int) error {
	return q.change(func(i *iface, cfg *Config) error {
		if err := checkMTU(mtu, cfg.hasV6()); err != nil {
			return err
		}
		if err := i.setMTU(mtu); err != nil {
			return err
		}
		for _, l := range q.lanes {
			l.setMTU(mtu)
		}
		born := cfg.MTU < MinMTUv6 && mtu >= MinMTUv6
		if cfg.MTU = mtu; born {
			return i.tameIPv6()
		}
		return nil
	})
}

// tameIPv6 is for an interface whose IPv6 came into being when its MTU grew:
// it has the namespace's defaults, and an address of the kernel's own.
func (i *iface) tameIPv6() error {
	link, err := i.link()
	if err != nil {
		return err
	}
	if err := setSysctls(i.ns, link.Attrs().Name, false); err != nil {
		return err
	}
	have, err := i.addrs()
	if err != nil {
		return err
	}
	for p := range have {
		if p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
			if err := i.delAddr(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetDepth changes how many frames of the container may wait in each lane. The
// kernel keeps those that wait; of more than the new depth it drops the rest.
// It is the one change that may lose a frame: while the kernel changes the
// length, for some microseconds, on a busy machine up to 4 ms, it drops what
// the container sends, and counts it at the container's interface (LinkStats).
// A depth that is set already changes nothing.
func (q *Queue) SetDepth(depth int) error {
	if err := checkDepth(depth); err != nil {
		return err
	}
	return q.change(func(i *iface, cfg *Config) error {
		cfg.Depth = depth
		return i.setDepth(depth)
	})
}

// SetAddrs replaces addresses and default routes. What is in the old and in
// the new set is not touched, and what is new is there before anything goes;
// only an IPv6 address whose prefix length changes is away for a moment. On an
// error the old set is back, as far as the kernel lets. An interface that is
// down gets its routes when it is up and Reconcile is called.
func (q *Queue) SetAddrs(to Addressing) error {
	return q.change(func(i *iface, cfg *Config) error {
		from := cfg.addressing()
		cfg.Addrs, cfg.LinkLocal, cfg.Gateways = slices.Clone(to.Addrs), to.LinkLocal, slices.Clone(to.Gateways)
		if err := cfg.Validate(); err != nil {
			return err
		}
		err := i.moveAddressing(&from, &to, q.neighs)
		if err != nil {
			err = errors.Join(err, i.moveAddressing(&to, &from, q.neighs))
		}
		return err
	})
}

// SetNeighbour makes mac the permanent neighbour entry of ip, which is what a
// gateway needs: the kernel's table of other entries is bounded over all
// namespaces together.
func (q *Queue) SetNeighbour(ip netip.Addr, mac [6]byte) error {
	return q.change(func(i *iface, _ *Config) error {
		if err := i.setNeighbour(ip, mac); err != nil {
			return err
		}
		q.neighs[ip] = mac
		return nil
	})
}

// DelNeighbour removes what SetNeighbour made. None is no error.
func (q *Queue) DelNeighbour(ip netip.Addr) error {
	return q.change(func(i *iface, _ *Config) error {
		delete(q.neighs, ip)
		return i.delNeighbour(ip)
	})
}

// Remove deletes the interface and closes the queue. It takes about 20 ms of
// waiting for the kernel; many queues should be removed by many goroutines.
func (q *Queue) Remove() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.withIface(func(i *iface) error { return i.removeIf(q.cfg.Owner) })
	if !q.closed {
		// Wherever it was moved to and whatever it is called there, the
		// interface goes with the last descriptor. It is gone already where
		// this fails.
		_ = unix.IoctlSetInt(q.lanes[0].fd, unix.TUNSETPERSIST, 0)
	}
	return errors.Join(err, q.close())
}

// removeIf deletes the interface if it is there and still ours.
func (i *iface) removeIf(owner string) error {
	link, err := i.link()
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return i.explain("look it up", err)
	}
	if !isOurs(link, owner) {
		return nil
	}
	return i.remove()
}

// moveAddressing makes the interface's addresses and routes change from one
// set to another.
func (i *iface) moveAddressing(from, to *Addressing, neighs map[netip.Addr][6]byte) error {
	link, err := i.link()
	if err != nil {
		return i.explain("look it up", err)
	}
	keep := to.prefixes()
	v6 := slices.ContainsFunc(keep, func(p netip.Prefix) bool { return p.Addr().Is6() })
	if err := setSysctls(i.ns, link.Attrs().Name, v6); err != nil {
		return err
	}
	if _, err := i.repairAddrs(keep); err != nil {
		return err
	}
	if err := i.moveDefaults(link, from, to); err != nil {
		return err
	}
	for _, p := range from.prefixes() {
		if !slices.Contains(keep, p) {
			if err := i.delAddr(p); err != nil {
				return err
			}
		}
	}
	_, err = i.repair(link, to, neighs)
	return err
}

// moveDefaults replaces the default route of each family, or deletes it.
func (i *iface) moveDefaults(link netlink.Link, from, to *Addressing) error {
	for _, old := range from.Gateways {
		follows := func(gw netip.Addr) bool { return gw.Is4() == old.Is4() }
		if slices.ContainsFunc(to.Gateways, follows) {
			continue
		}
		if err := i.delDefault(from, old); err != nil {
			return err
		}
	}
	if !isUp(link) {
		return nil
	}
	return i.addDefaults(to)
}

// LinkStats are the kernel's own counters of the interface, from the
// container's point of view.
type LinkStats struct {
	// TxDropped: frames of the container that found their lane full.
	TxDropped uint64
	// RxDropped: frames that were delivered and that the container's kernel
	// had no use for.
	RxDropped uint64
}

// LinkStats asks the kernel.
func (q *Queue) LinkStats() (stats LinkStats, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	err = q.withIface(func(i *iface) error {
		link, err := i.link()
		if err != nil {
			return fmt.Errorf("count the drops of TAP %s: %w", q.cfg.Name, err)
		}
		if s := link.Attrs().Statistics; s != nil {
			stats = LinkStats{TxDropped: s.TxDropped, RxDropped: s.RxDropped}
		}
		return nil
	})
	return stats, err
}
