package nic

import (
	"errors"

	"golang.org/x/sys/unix"
)

// memberships is a packetSocket, or a fake in tests.
type memberships interface {
	join(kind uint16, index int, mac [6]byte) error
	leave(kind uint16, index int, mac [6]byte) error
}

// filter is what a device must accept of one sort of address, and what it was
// told of it: each address by itself up to a limit, beyond that all of them.
// Addresses are counted, for many want the same one.
type filter struct {
	one, all uint16 // packet membership for one address, and for all
	limit    int
	// everybody (zero) stands beside all: the kernel does not use the address
	// of such a membership, but compares it when it is left.
	everybody [6]byte
	wanted    map[[6]byte]int
	joined    map[[6]byte]bool // those the device was told by themselves
	wide      bool             // it was told to accept all
}

func newFilter(one, all uint16, limit, byDefault int) filter {
	if limit <= 0 {
		limit = byDefault
	}
	return filter{one: one, all: all, limit: limit, wanted: map[[6]byte]int{}, joined: map[[6]byte]bool{}}
}

// add wants more addresses: all of them, or after an error none.
func (f *filter) add(m memberships, index int, macs [][6]byte) error {
	for i, mac := range macs {
		f.wanted[mac]++
		if f.wanted[mac] > 1 {
			continue
		}
		if err := f.admit(m, index, mac); err != nil {
			return join(err, f.remove(m, index, macs[:i+1]))
		}
	}
	return nil
}

// admit makes the device accept one address that is wanted. An absent device
// is no error: rebind will tell it.
func (f *filter) admit(m memberships, index int, mac [6]byte) error {
	if f.wide {
		return nil
	}
	err := error(nil)
	if len(f.wanted) <= f.limit {
		if err = m.join(f.one, index, mac); err == nil {
			f.joined[mac] = true
			return nil
		}
	}
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	// Beyond the limit, or a device that takes no more.
	wideErr := m.join(f.all, index, f.everybody)
	f.wide = wideErr == nil
	if f.wide || errors.Is(wideErr, unix.ENODEV) {
		return nil
	}
	return join(err, wideErr)
}

// remove wants each address once less; unknown ones are ignored.
func (f *filter) remove(m memberships, index int, macs [][6]byte) error {
	var errs []error
	for _, mac := range macs {
		if f.wanted[mac] == 0 {
			continue
		}
		f.wanted[mac]--
		if f.wanted[mac] == 0 {
			delete(f.wanted, mac)
			errs = append(errs, f.drop(m, index, mac))
		}
	}
	f.narrow(m, index)
	return join(errs...)
}

// drop takes the address of the device's list if it stands there by itself.
func (f *filter) drop(m memberships, index int, mac [6]byte) error {
	if !f.joined[mac] {
		return nil
	}
	delete(f.joined, mac)
	return ignoreGone(m.leave(f.one, index, mac))
}

// narrow goes back from all to single addresses once they fit again. If the
// device still does not take them, it keeps accepting all.
func (f *filter) narrow(m memberships, index int) {
	if !f.wide || len(f.wanted) > f.limit {
		return
	}
	for mac := range f.wanted {
		if f.joined[mac] {
			continue
		}
		if m.join(f.one, index, mac) != nil {
			return
		}
		f.joined[mac] = true
	}
	f.wide = false
	_ = m.leave(f.all, index, f.everybody)
}

// rebind tells another device, or the same one that was away, all that is
// wanted. The old one may still be there.
func (f *filter) rebind(m memberships, old, index int) error {
	for mac := range f.joined {
		_ = m.leave(f.one, old, mac)
	}
	if f.wide {
		_ = m.leave(f.all, old, f.everybody)
	}
	f.joined, f.wide = map[[6]byte]bool{}, false
	var errs []error
	for mac := range f.wanted {
		errs = append(errs, f.admit(m, index, mac))
	}
	return join(errs...)
}

// ignoreGone forgives that a membership went away with its device.
func ignoreGone(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}
