package main

import (
	"context"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

// batch is how many frames pass at once.
const batch = 64

// link is an Ethernet device of the stack: a memif session. While there is no
// connection, what is sent is lost, as on a cable that is pulled.
type link struct {
	session *client.Session
	mtu     uint32
	mac     tcpip.LinkAddress

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex // of all below
	conn *client.Conn
	out  [][][]byte // for each ring, frames on their way to Write

	attached   sync.Mutex // of dispatcher
	dispatcher stack.NetworkDispatcher
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

func newLink(e client.Endpoint, session *client.Session) *link {
	l := &link{session: session, mtu: uint32(e.MTU), mac: tcpip.LinkAddress(e.MAC)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// run uses one connection after the other.
func (l *link) run() {
	for {
		conn, err := l.session.Conn(l.ctx)
		if err != nil {
			return
		}
		l.use(conn)
		var rings sync.WaitGroup
		for i := range conn.Rings() {
			rings.Go(func() { l.receive(conn.Ring(i)) })
		}
		rings.Wait()
		if l.ctx.Err() != nil {
			return
		}
	}
}

func (l *link) use(conn *client.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn = conn
	l.out = make([][][]byte, conn.Rings())
}

// receive passes on what comes over a ring until it ends. A frame is copied once:
// from the shared memory into a view, which the stack then owns.
func (l *link) receive(r *client.Ring) {
	var merge gro.GRO
	merge.Init(true)
	views, bufs := make([]*buffer.View, batch), make([][]byte, batch)
	size := int(l.mtu) + header.EthernetMinimumSize
	for {
		for i := range bufs {
			if views[i] == nil {
				views[i] = buffer.NewViewSize(size)
				bufs[i] = views[i].AsSlice()
			}
		}
		n, err := r.ReadContext(l.ctx, bufs)
		if err != nil {
			return
		}
		dispatcher := l.attachedTo()
		merge.Dispatcher = dispatcher
		for i, f := range bufs[:n] {
			v := views[i]
			views[i] = nil
			v.CapLength(len(f))
			l.deliver(&merge, dispatcher, v)
		}
		if dispatcher != nil {
			merge.Flush()
		}
	}
}

func (l *link) attachedTo() stack.NetworkDispatcher {
	l.attached.Lock()
	defer l.attached.Unlock()
	return l.dispatcher
}

// deliver gives one frame to the stack.
func (l *link) deliver(merge *gro.GRO, dispatcher stack.NetworkDispatcher, v *buffer.View) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	defer pkt.DecRef()
	if dispatcher == nil || !l.ParseHeader(pkt) {
		return
	}
	eth := header.Ethernet(pkt.LinkHeader().Slice())
	pkt.NetworkProtocolNumber = eth.Type()
	switch dst := eth.DestinationAddress(); {
	case dst == l.mac:
		pkt.PktType = tcpip.PacketHost
	case dst == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(dst):
		pkt.PktType = tcpip.PacketMulticast
	default:
		return // flooded, and for another
	}
	merge.Enqueue(pkt)
}

// WritePackets copies the packets into the rings, each flow always into the same
// one. It waits for room, which holds back the queue in front of it alone.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return 0, &tcpip.ErrUnknownDevice{}
	}
	for _, pkt := range pkts.AsSlice() {
		i := int(pkt.Hash) % len(l.out)
		l.out[i] = enqueue(l.out[i], pkt)
	}
	for i, frames := range l.out {
		_, _ = l.conn.Ring(i).WriteContext(l.ctx, frames) // lost with the connection
		l.out[i] = frames[:0]
	}
	return pkts.Len(), nil
}

// enqueue appends the frame of pkt, in the memory of an earlier one if there is
// any.
func enqueue(frames [][]byte, pkt *stack.PacketBuffer) [][]byte {
	n := len(frames)
	if n < cap(frames) {
		frames = frames[:n+1]
	} else {
		frames = append(frames, nil)
	}
	f := frames[n][:0]
	for _, part := range pkt.AsSlices() {
		f = append(f, part...)
	}
	frames[n] = f
	return frames
}

// stop ends everything that the link runs.
func (l *link) stop() {
	l.cancel()
	l.running.Wait()
}

// AddHeader writes the Ethernet header.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.mac,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader takes the Ethernet header off.
func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Attach starts the link.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.attached.Lock()
	defer l.attached.Unlock()
	if l.dispatcher == nil && d != nil {
		l.running.Go(l.run)
	}
	l.dispatcher = d
}

// IsAttached says whether Attach was called.
func (l *link) IsAttached() bool { return l.attachedTo() != nil }

// What the stack asks of a device.

// MTU is without the Ethernet header.
func (l *link) MTU() uint32 { return l.mtu }

// SetMTU does nothing: the port's MTU holds.
func (l *link) SetMTU(uint32) {}

// MaxHeaderLength is that of Ethernet.
func (l *link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// LinkAddress is the port's.
func (l *link) LinkAddress() tcpip.LinkAddress { return l.mac }

// SetLinkAddress does nothing: the port's address holds.
func (l *link) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities has no offload of checksums: memif does not know them.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

// GSOMaxSize is how much TCP may hand over at once, to be cut by the stack.
func (l *link) GSOMaxSize() uint32 { return stack.GVisorGSOMaxSize }

// SupportedGSO has the stack cut large segments late.
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// ARPHardwareType is Ethernet.
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// Wait waits for the link's goroutines, which stop ends.
func (l *link) Wait() { l.running.Wait() }

// Close does nothing; stop ends the link.
func (l *link) Close() {}

// SetOnCloseAction does nothing: no device is behind the link.
func (l *link) SetOnCloseAction(func()) {}
