package nic

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// XDPSupport is what a driver says that it can do with XDP natively (kernel,
// Documentation/netlink/specs/netdev.yaml).
type XDPSupport struct {
	// Native: programs run in the driver.
	Native bool
	// Redirect: they may redirect, which steering into AF_XDP needs.
	Redirect bool
	// ZeroCopy: AF_XDP sockets may share memory with the device.
	ZeroCopy bool
	// Fragments: programs may see frames of several buffers.
	Fragments bool
	// ZeroCopySegments is the most buffers of one frame sent in zero-copy; 0 is
	// unknown.
	ZeroCopySegments int
}

// Parts of linux/netdev.h.
const (
	netdevFamily      = "netdev"
	netdevDevGet      = 1
	netdevIfindex     = 1
	netdevXDPFeatures = 3
	netdevZCMaxSegs   = 4

	xdpActBasic    = 1 << 0
	xdpActRedirect = 1 << 1
	xdpActZeroCopy = 1 << 3
	xdpActRxSG     = 1 << 5
)

// xdpSupport is nil where the kernel does not tell.
func (c *conn) xdpSupport(index int) (*XDPSupport, error) {
	reply, err := c.generic(netdevFamily, netdevDevGet, nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(index))))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("XDP support of interface %d: %w", index, err)
	}
	return parseXDPSupport(reply)
}

func parseXDPSupport(reply []byte) (*XDPSupport, error) {
	attrs, err := parseAttrs(reply)
	if err != nil {
		return nil, err
	}
	s := &XDPSupport{}
	for _, a := range attrs {
		switch a.kind {
		case netdevXDPFeatures:
			bits, _ := a.uint64()
			s.Native, s.Redirect = bits&xdpActBasic != 0, bits&xdpActRedirect != 0
			s.ZeroCopy, s.Fragments = bits&xdpActZeroCopy != 0, bits&xdpActRxSG != 0
		case netdevZCMaxSegs:
			n, _ := a.uint32()
			s.ZeroCopySegments = int(n)
		}
	}
	return s, nil
}
