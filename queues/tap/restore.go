package tap

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// Restore takes over the interface that an earlier process of ours made with
// Open and left, adds what cfg has and it has not, and respects that it may
// have been set down. It is found by cfg.Owner, so it may have been renamed. A
// TAP that was made with one lane keeps one, whatever cfg says; see Lanes. On
// an error it is as it was. ErrGone: there is none, Open can make it;
// a *NameTakenError, which is an ErrNotOurs: cfg.Name belongs to somebody else;
// ErrInUse: another process holds a queue of it. Neighbours are to be set again.
func Restore(cfg Config) (q *Queue, err error) {
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
	if err := o.locate(); err != nil {
		return nil, err
	}
	if err := inside(o.cfg.NetNS, func() error { return o.dev.attach(o.cfg.Lanes, false) }); err != nil {
		return nil, err
	}
	if err := o.reconfigure(); err != nil {
		return nil, err
	}
	return o.queue(), nil
}

// reconfigure is configure for an interface that somebody uses.
func (o *opening) reconfigure() error {
	return o.run(append(o.common(), step{"repair", func() error {
		link, err := o.iface.link()
		if err != nil {
			return err
		}
		a := o.cfg.addressing()
		_, err = o.iface.repair(link, &a, nil)
		return err
	}})...)
}

// locate finds our interface, waiting a little for a dead process's
// descriptors to be closed by the kernel.
func (o *opening) locate() error {
	const patience, pause = time.Second, 10 * time.Millisecond
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		link, err := o.iface.owned(o.cfg.Name, o.cfg.Owner)
		if err != nil {
			return err
		}
		if link.Queues == 0 {
			o.take(link)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("TAP %s in netns %s: %w", link.Name, nsName(o.cfg.NetNS), ErrInUse)
		}
	}
}

// take makes o be about link.
func (o *opening) take(link *netlink.Tuntap) {
	o.iface.index, o.dev.name, o.cfg.Name = link.Index, link.Name, link.Name
	if o.dev.multi = link.Flags&netlink.TUNTAP_MULTI_QUEUE != 0; !o.dev.multi {
		o.cfg.Lanes = 1
	}
}

// owned finds our interface: the named one first, then any that bears the
// mark.
func (i *iface) owned(name, owner string) (*netlink.Tuntap, error) {
	named, err := i.handle.LinkByName(name)
	if err == nil && isOurs(named, owner) {
		return named.(*netlink.Tuntap), nil
	}
	var all []netlink.Link
	listErr := insist(func() (err error) {
		all, err = i.handle.LinkList()
		return err
	})
	if listErr != nil {
		return nil, fmt.Errorf("list the interfaces of netns %s: %w", nsName(i.ns), listErr)
	}
	for _, link := range all {
		if isOurs(link, owner) {
			return link.(*netlink.Tuntap), nil
		}
	}
	if err == nil {
		return nil, taken(i.ns, name, named)
	}
	return nil, fmt.Errorf("TAP %s in netns %s: %w", name, nsName(i.ns), ErrGone)
}

// Delete removes the interface that an earlier process of ours made with Open
// and left. One that is not there any more is no error; one that is not ours
// is left alone.
func Delete(ns *netns.NetNS, name, owner string) error {
	handle, err := newHandle(ns)
	if err != nil {
		return err
	}
	defer handle.Close()
	i := iface{handle: handle, ns: ns}
	link, err := i.owned(name, owner)
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	i.index = link.Index
	return i.remove()
}
