package nic

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Channels is how many queues a device uses. A combined channel is one receive
// and one transmit queue.
type Channels struct {
	// Rx and Tx count all receive and all transmit queues, combined ones included.
	Rx, Tx int
	// Combined is how many of them are combined channels.
	Combined int
	// MaxRx and MaxTx are the most that can be configured; 0 is unknown.
	MaxRx, MaxTx int
	// Exact is false where the driver does not tell: Rx and Tx are then what
	// was allocated, of which less may be in use.
	Exact bool
}

// channels asks ethtool, and the link itself where the driver does not answer.
func (c *conn) channels(link netlink.Link) (Channels, error) {
	a := link.Attrs()
	reply, err := c.ethtool(unix.ETHTOOL_MSG_CHANNELS_GET, ethtoolHeader(unix.ETHTOOL_A_CHANNELS_HEADER, a.Index))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return Channels{Rx: a.NumRxQueues, Tx: a.NumTxQueues}, nil
	}
	if err != nil {
		return Channels{}, fmt.Errorf("channels of %s: %w", a.Name, err)
	}
	return parseChannels(reply)
}

// parseChannels reads the answer to ETHTOOL_MSG_CHANNELS_GET (kernel,
// Documentation/networking/ethtool-netlink.rst). Absent counts are zero.
func parseChannels(reply []byte) (Channels, error) {
	attrs, err := parseAttrs(reply)
	if err != nil {
		return Channels{}, err
	}
	var n [unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT + 1]int
	for _, a := range attrs {
		if v, ok := a.uint32(); ok && int(a.kind) < len(n) {
			n[a.kind] = int(v)
		}
	}
	combined, most := n[unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT], n[unix.ETHTOOL_A_CHANNELS_COMBINED_MAX]
	return Channels{
		Rx: n[unix.ETHTOOL_A_CHANNELS_RX_COUNT] + combined, Tx: n[unix.ETHTOOL_A_CHANNELS_TX_COUNT] + combined,
		Combined: combined,
		MaxRx:    max(n[unix.ETHTOOL_A_CHANNELS_RX_MAX], most), MaxTx: max(n[unix.ETHTOOL_A_CHANNELS_TX_MAX], most),
		Exact: true,
	}, nil
}
