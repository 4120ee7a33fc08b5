package nic

import (
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Config says which device to open, and how far its address filters go.
type Config struct {
	// Name is the interface's name or one of its alternative names.
	Name string
	// MaxUnicast is how many unicast addresses of containers are put into the
	// device's filter before it is made promiscuous instead; 0 is 128. Drivers
	// whose hardware holds fewer become promiscuous by themselves; many rewrite
	// the whole filter for each address, hence a limit.
	MaxUnicast int
	// MaxGroups is how many multicast groups are joined before the device is
	// made to accept them all; 0 is 256.
	MaxGroups int
}

// NIC is one network device. Its methods may be called by any goroutine, in
// any network namespace: they act in that of Open.
type NIC struct {
	conn   *conn
	packet *packetSocket

	mu      sync.Mutex // guards the following
	index   int
	unicast filter
	groups  filter
}

// Open opens the device with a name, in the network namespace of the calling
// thread. It changes nothing and needs no privilege; AddMACs and JoinGroups
// need CAP_NET_RAW at the time of Open, Prepare and Restore need CAP_NET_ADMIN.
// A name that does not exist is a *NotFoundError. Whether the device is fit is
// Check's matter.
func Open(name string) (*NIC, error) { return OpenConfig(Config{Name: name}) }

// OpenConfig is Open with limits.
func OpenConfig(cfg Config) (*NIC, error) {
	return open(cfg, func(c *conn) (netlink.Link, error) { return c.linkByName(cfg.Name) })
}

func open(cfg Config, find func(*conn) (netlink.Link, error)) (*NIC, error) {
	c, err := dial()
	if err != nil {
		return nil, err
	}
	link, err := find(c)
	if err != nil {
		c.close()
		return nil, err
	}
	p, err := openPacketSocket()
	if err != nil {
		c.close()
		return nil, err
	}
	n := &NIC{conn: c, packet: p, index: link.Attrs().Index}
	n.unicast = newFilter(unix.PACKET_MR_UNICAST, unix.PACKET_MR_PROMISC, cfg.MaxUnicast, 128)
	n.groups = newFilter(unix.PACKET_MR_MULTICAST, unix.PACKET_MR_ALLMULTI, cfg.MaxGroups, 256)
	return n, nil
}

// Close lets the device go. Every address and group that was added leaves with
// it; offloads stay as Prepare set them, unless Restore was called.
func (n *NIC) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conn.close()
	return n.packet.close()
}

// Index is the device's interface index.
func (n *NIC) Index() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.index
}

// Rebind moves n to another index, or to the same again, after the device went
// away and returned (see Returned): the addresses and groups that were added
// are added there anew. Offloads are Prepare's matter.
func (n *NIC) Rebind(index int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.index
	n.index = index
	err := join(
		n.unicast.rebind(n.packet, old, index),
		n.groups.rebind(n.packet, old, index))
	if err != nil {
		return fmt.Errorf("accept addresses on interface %d: %w", index, err)
	}
	return nil
}
