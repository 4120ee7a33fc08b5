package nic

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PrepareConfig says what the device will be used for.
type PrepareConfig struct {
	// Generic: the XDP program will run in generic mode, behind the host's own
	// GRO, which makes frames larger than the MTU; so that is switched off too.
	Generic bool
}

// Record is what Prepare changes, and how it was before: all that Restore
// needs. It is plain data for JSON, to be kept before Prepare carries it out,
// for a process that comes after a crash.
type Record struct {
	// Index, Name and MAC (in hexadecimal with colons) say which device it was.
	Index int    `json:"index"`
	Name  string `json:"name"`
	MAC   string `json:"mac"`
	// Off are the offloads that are switched off, by kernel name ("rx-lro"), in
	// order. Each was wanted before.
	Off []string `json:"off,omitempty"`
	// Stuck are offloads that harm, are on, and cannot be switched off.
	Stuck []string `json:"stuck,omitempty"`
}

// Merge is a record of both changes: r's, and those that a later Prepare of the
// same device made besides.
func (r Record) Merge(later Record) Record {
	later.Off = union(r.Off, later.Off)
	later.Stuck = union(nil, later.Stuck)
	return later
}

func union(a, b []string) []string {
	u := slices.Concat(a, b)
	slices.Sort(u)
	return slices.Compact(u)
}

// harmful is the offloads that would break the data path, by the kernel's
// names, and what they do to frames.
func harmful(cfg PrepareConfig) map[string]string {
	h := map[string]string{
		"rx-lro":                "merges frames beyond the MTU",
		"rx-gro-hw":             "merges frames beyond the MTU",
		"rx-vlan-hw-parse":      "takes VLAN tags off before XDP sees them",
		"rx-vlan-stag-hw-parse": "takes VLAN tags off before XDP sees them",
		"rx-fcs":                "leaves the frame check sequence behind each frame",
	}
	if cfg.Generic {
		h["rx-gro"] = "merges frames beyond the MTU"
	}
	return h
}

// Why says what an offload in a Record would do to the data path.
func Why(offload string) string { return harmful(PrepareConfig{Generic: true})[offload] }

// Plan says what Prepare would do, and changes nothing.
func (n *NIC) Plan(cfg PrepareConfig) (Record, error) {
	link, err := n.conn.linkByIndex(n.Index())
	if err != nil {
		return Record{}, err
	}
	a := link.Attrs()
	features, err := n.conn.features(a.Index)
	if err != nil {
		return Record{}, err
	}
	r := Record{Index: a.Index, Name: a.Name, MAC: a.HardwareAddr.String()}
	r.Off, r.Stuck = plan(features, cfg)
	return r, nil
}

func plan(features map[string]feature, cfg PrepareConfig) (off, stuck []string) {
	for _, name := range slices.Sorted(maps.Keys(harmful(cfg))) {
		switch f := features[name]; {
		case !f.active:
		case f.changeable && f.wanted:
			off = append(off, name)
		default:
			stuck = append(stuck, name)
		}
	}
	return off, stuck
}

// Prepare carries out a Plan: it switches the offloads in r.Off off. It returns
// r with those added to Stuck that are on nevertheless, because the driver did
// not obey. After an error everything is as before, or Restore makes it so.
// It may be repeated; what is off already stays off.
func (n *NIC) Prepare(r Record) (Record, error) {
	if len(r.Off) == 0 {
		return r, nil
	}
	want := map[string]bool{}
	for _, name := range r.Off {
		want[name] = false
	}
	if err := n.conn.setFeatures(n.Index(), want); err != nil {
		return r, fmt.Errorf("switch %s of %s off (needs CAP_NET_ADMIN): %w", strings.Join(r.Off, ", "), r.Name, err)
	}
	features, err := n.conn.features(n.Index())
	for _, name := range r.Off {
		if features[name].active {
			r.Stuck = union(r.Stuck, []string{name})
		}
	}
	return r, err
}

// Restore switches on again what Prepare switched off, except what the driver
// no longer has. Somebody may have done so already; that is no error. A device
// that is gone is a *NotFoundError, and there is nothing to restore.
func (n *NIC) Restore(r Record) error {
	features, err := n.conn.features(n.Index())
	if errors.Is(err, unix.ENODEV) {
		return &NotFoundError{Index: n.Index()}
	}
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, name := range r.Off {
		if f := features[name]; f.changeable && !f.wanted {
			want[name] = true
		}
	}
	if len(want) == 0 {
		return nil
	}
	if err := n.conn.setFeatures(n.Index(), want); err != nil {
		return fmt.Errorf("switch %s of %s on again (needs CAP_NET_ADMIN): %w", strings.Join(r.Off, ", "), r.Name, err)
	}
	return nil
}

// Restore undoes what another process recorded, such as one that was killed.
// It finds the device by its index if that still bears the name or the MAC
// address of the record, else by its name. A device that is gone for good is a
// *NotFoundError, and there is nothing to restore.
func Restore(r Record) error {
	n, err := open(Config{}, r.find)
	if err != nil {
		return err
	}
	return join(n.Restore(r), n.Close())
}

func (r Record) find(c *conn) (netlink.Link, error) {
	if link, err := c.linkByIndex(r.Index); err == nil && r.fits(link.Attrs()) {
		return link, nil
	}
	return c.linkByName(r.Name)
}

// fits says that a device with the record's index is the same one: an index may
// be used again.
func (r Record) fits(a *netlink.LinkAttrs) bool {
	return a.Name == r.Name || (r.MAC != "" && a.HardwareAddr.String() == r.MAC)
}
