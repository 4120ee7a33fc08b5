package tap

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// The limits of a Config.
const (
	// DefaultName is the interface's name inside the container.
	DefaultName = "eth0"
	// DefaultMTU is in bytes.
	DefaultMTU = 1500
	// DefaultDepth is in frames per lane, toward the worker.
	DefaultDepth = 500
	// MaxLanes is the kernel's limit of queues of one TAP.
	MaxLanes = 256
	// MaxName is the longest interface name, in bytes.
	MaxName = 15
	// MinMTU is the least MTU that IPv4 works with, in bytes (RFC 791).
	MinMTU = 68
	// MinMTUv6 is the least MTU that IPv6 works with, in bytes (RFC 8200).
	MinMTUv6 = 1280
	// MaxMTU is the kernel's limit for a TAP, in bytes.
	MaxMTU = 65521
	// MaxDepth bounds the memory that the kernel takes per lane: 8 bytes a slot.
	MaxDepth = 65536
	// MaxSuperFrame is the largest frame of all, in bytes, header included.
	MaxSuperFrame = 65550
)

// Config says what a TAP and its interface shall be. The zero value of a
// field means what its comment says.
type Config struct {
	// NetNS is where the interface lives. It stays the caller's and must be
	// held until the queue has been closed. Nil means the namespace of the
	// process itself.
	NetNS *netns.NetNS
	// Name of the interface inside; empty means DefaultName.
	Name string
	// Owner is written to the interface's alias and tells Restore that the
	// interface is ours: "xdpdemux:NIC:PORT". It must not be empty.
	Owner string
	// MAC of the interface. It must be a unicast address and not zero.
	MAC [6]byte
	// MTU of the interface in bytes, without Ethernet header; 0 means
	// DefaultMTU.
	MTU int
	// Lanes is the number of queues; 0 means 1. The kernel makes a TAP for one
	// queue alone or, at 190 KiB, for up to 256; see Restore.
	Lanes int
	// Depth is how many frames of the container may wait in each lane
	// (txqueuelen); 0 means DefaultDepth. What waits is kernel memory: up to
	// Depth frames, or super-frames of 64 KiB.
	Depth int
	// GSO lets super-frames of up to MaxSuperFrame bytes pass, both ways. The
	// caller then offers buffers of that size to Collect. Without it no frame
	// is larger than MTU plus header and one VLAN tag.
	GSO bool
	// Addrs are the interface's addresses with the lengths of their on-link
	// prefixes. None is fine.
	Addrs []netip.Prefix
	// LinkLocal is the interface's IPv6 link-local address; the kernel makes
	// none by itself. The zero Addr means none.
	LinkLocal netip.Addr
	// Gateways are the next hops of the default routes, at most one of each
	// family. One that no prefix of Addrs contains gets an onlink route.
	Gateways []netip.Addr
	// Steering is the program that keeps a flow on its lane, shared by all
	// queues. It stays the caller's. Nil with more than one lane means that
	// Open loads one for itself, which costs about a millisecond.
	Steering *Steering
	// Rings, by lane, take frames for many TAPs together; see Ring. They are
	// shared by all queues and stay the caller's. A lane without one writes frame
	// by frame.
	Rings []*Ring

	failAt func(step string) error // of tests: an error makes that step fail
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.Lanes == 0 {
		c.Lanes = 1
	}
	if c.Depth == 0 {
		c.Depth = DefaultDepth
	}
	return c
}

// Validate says in one line what is wrong with c. It touches nothing.
func (c Config) Validate() error {
	c = c.withDefaults()
	checks := []func() error{c.checkName, c.checkMAC, c.checkSizes, c.checkAddrs, c.checkGateways}
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// CheckName says in one line why the kernel would not take name as the name
// of an interface; nil if it would.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the interface name is empty")
	case len(name) > MaxName:
		return fmt.Errorf("interface name %q is %d bytes long, at most %d are allowed", name, len(name), MaxName)
	case name == "." || name == "..":
		return fmt.Errorf("interface name %q is not allowed", name)
	case slices.ContainsFunc([]byte(name), badInName):
		return fmt.Errorf("interface name %q must not contain '/', ':', '%%', spaces or control characters", name)
	}
	return nil
}

// badInName reports the bytes that dev_valid_name of the kernel forbids, 0xa0
// among them, and what would make it choose a name ("eth%d").
func badInName(c byte) bool {
	return c <= ' ' || c == 0x7f || c == 0xa0 || c == '/' || c == ':' || c == '%'
}

func (c Config) checkName() error {
	if c.Owner == "" || len(c.Owner) > 255 {
		return fmt.Errorf("the owner of interface %s must have 1 to 255 bytes", c.Name)
	}
	return CheckName(c.Name)
}

func (c Config) checkMAC() error { return checkMAC(c.MAC) }

func checkMAC(mac [6]byte) error {
	if mac == [6]byte{} || mac[0]&1 != 0 {
		return fmt.Errorf("MAC %x is no unicast address", mac)
	}
	return nil
}

func (c Config) checkSizes() error {
	if c.Lanes < 1 || c.Lanes > MaxLanes {
		return fmt.Errorf("%d lanes: a TAP has 1 to %d", c.Lanes, MaxLanes)
	}
	if err := checkDepth(c.Depth); err != nil {
		return err
	}
	return checkMTU(c.MTU, c.hasV6())
}

func checkDepth(depth int) error {
	if depth < 1 || depth > MaxDepth {
		return fmt.Errorf("depth %d: a TAP has 1 to %d slots per lane", depth, MaxDepth)
	}
	return nil
}

func checkMTU(mtu int, v6 bool) error {
	least, why := MinMTU, "a TAP"
	if v6 {
		least, why = MinMTUv6, "a TAP with IPv6"
	}
	if mtu < least || mtu > MaxMTU {
		return fmt.Errorf("MTU %d: %s has %d to %d", mtu, why, least, MaxMTU)
	}
	return nil
}

func (c Config) hasV6() bool {
	for _, p := range c.Addrs {
		if p.Addr().Is6() {
			return true
		}
	}
	return c.LinkLocal.IsValid()
}

func (c Config) checkAddrs() error {
	if ll := c.LinkLocal; ll.IsValid() && (!ll.IsLinkLocalUnicast() || !ll.Is6() || ll.Zone() != "") {
		return fmt.Errorf("%s is no IPv6 link-local address", ll)
	}
	seen := map[netip.Addr]bool{}
	for _, p := range c.Addrs {
		a := p.Addr()
		if !p.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%s is no address for an interface", p)
		}
		if seen[a] || a == c.LinkLocal {
			return fmt.Errorf("address %s is given twice", a)
		}
		seen[a] = true
	}
	return nil
}

func (c Config) checkGateways() error {
	var v4, v6 int
	for _, g := range c.Gateways {
		if !g.IsValid() || g.Is4In6() || g.Zone() != "" || g.IsUnspecified() || g.IsMulticast() {
			return fmt.Errorf("%s is no address of a gateway", g)
		}
		if g.Is4() {
			v4++
		} else {
			v6++
		}
	}
	if v4 > 1 || v6 > 1 {
		return errors.New("more than one gateway of a family")
	}
	return nil
}
