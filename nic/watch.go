package nic

import (
	"context"
	"fmt"
	"net/netip"
)

// WatchConfig says what a watch leaves out.
type WatchConfig struct {
	// Ignore names interfaces whose addresses are not reported, such as the
	// daemon's own host port.
	Ignore []string
	// ReceiveBuffer is the size in bytes of the socket's buffer; 0 is 1 MiB.
	// The kernel may grant less. When it overflows, the watch reads everything
	// anew, so a small one costs time, never truth.
	ReceiveBuffer int
}

// LinkState is what a watch follows of the NIC.
type LinkState struct {
	// Present is false while the NIC is away; the rest is then what it was last.
	Present bool
	Index   int
	Name    string
	MAC     [6]byte
	// MTU in bytes.
	MTU int
	// Up is the administrator's will; Carrier is that a signal is there, and
	// never true while Up is not. The kernel may report it a second late.
	Up, Carrier bool
	// Master is the index of the device that took the NIC as a member, or 0.
	Master int
}

// Running says that frames can flow.
func (s LinkState) Running() bool { return s.Present && s.Up && s.Carrier }

// HostAddr is an IP address of the host. Loopback addresses (127.0.0.0/8, ::1)
// are none. The same address may be on several interfaces.
type HostAddr struct {
	// Index and Iface are those of the interface that has it.
	Index int
	Iface string
	// Prefix is the address itself with the length of its subnet.
	Prefix netip.Prefix
}

// State is what a watch begins with; its events are differences to it.
type State struct {
	Link LinkState
	// Addrs are the host's addresses on all interfaces but the ignored ones.
	Addrs []HostAddr
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	// Up and Down: the administrator set the NIC up or down.
	Up EventKind = iota + 1
	Down
	// CarrierOn and CarrierOff: the wire was plugged or unplugged, or the NIC
	// was set up or down.
	CarrierOn
	CarrierOff
	// Renamed: the NIC has another name; sockets and programs are not touched.
	Renamed
	// MACChanged and MTUChanged: so it is.
	MACChanged
	MTUChanged
	// MasterChanged: a bond, bridge or the like took the NIC, or let it go.
	MasterChanged
	// Removed: the NIC is gone from this namespace, and with it every program,
	// socket and membership on it.
	Removed
	// Returned: a device is there that is the NIC again, by its name, or by its
	// MAC address and kind. It may have another index; it has none of what was
	// on the old one (see NIC.Rebind).
	Returned
	// AddrAdded and AddrRemoved: an address of the host, on any interface.
	AddrAdded
	AddrRemoved
	// Resynced: messages were lost, everything was read anew, and the
	// differences were reported before this. What happened and was undone in
	// between went unseen: a NIC that was away and is back at the same index has
	// lost its program.
	Resynced
	// Failed: the watch cannot go on; see Err. Nothing follows.
	Failed
)

func (k EventKind) String() string {
	names := [...]string{
		Up: "up", Down: "down", CarrierOn: "carrier on", CarrierOff: "carrier off", Renamed: "renamed",
		MACChanged: "MAC changed", MTUChanged: "MTU changed", MasterChanged: "master changed",
		Removed: "removed", Returned: "returned", AddrAdded: "address added", AddrRemoved: "address removed",
		Resynced: "resynced", Failed: "failed",
	}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// Event is one thing that happened. Events come in the order in which they
// happened; where one message of the kernel tells of several, each is an event.
type Event struct {
	Kind EventKind
	// Link is the NIC after the event, Before what it was until then.
	Link, Before LinkState
	// Addr is the address of AddrAdded and AddrRemoved.
	Addr HostAddr
	// Err is why the watch Failed.
	Err error
}

// Watch follows the NIC by its index, finds it again when it returns, and
// follows the host's addresses, in the network namespace of the calling thread.
// It returns what is so now and a channel of what happens from then on. The
// channel closes when ctx ends, or after Failed; only one goroutine works for
// it. A slow reader loses nothing but time: see Resynced. It needs no
// privilege.
func (n *NIC) Watch(ctx context.Context, cfg WatchConfig) (State, <-chan Event, error) {
	w, err := newWatcher(cfg, n.Index())
	if err != nil {
		return State{}, nil, fmt.Errorf("watch interface %d: %w", n.Index(), err)
	}
	go w.run(ctx)
	return w.first, w.events, nil
}

// HostAddrs lists the addresses of the host on all interfaces but the ignored
// ones; see HostAddr.
func (n *NIC) HostAddrs(ignore ...string) ([]HostAddr, error) {
	d, err := n.conn.dump()
	if err != nil {
		return nil, err
	}
	t := newTracker(ignore)
	t.start(d, n.Index())
	return t.state().Addrs, nil
}
