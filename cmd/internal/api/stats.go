package api

import "time"

// Flow is what became of the frames of one source. Each of them is counted at
// exactly one place: Received = Delivered + Flooded + ToHost + ToWire +
// Answered + InFlight + the sum of Drops.
type Flow struct {
	// Received frames came in from this source; Bytes is their length with
	// the Ethernet header. A container's frame that was too large to be looked
	// at, or contradicted itself, is received and dropped, and has no bytes here.
	Received uint64 `json:"received"`
	Bytes    uint64 `json:"bytes"`
	// Delivered went to one container.
	Delivered uint64 `json:"delivered"`
	// Flooded went to several containers; each frame counts once.
	Flooded uint64 `json:"flooded"`
	// ToHost went to the host port.
	ToHost uint64 `json:"to_host"`
	// ToWire went out through the NIC.
	ToWire uint64 `json:"to_wire"`
	// Answered were ARP requests, neighbour solicitations and the like that
	// the daemon answered itself.
	Answered uint64 `json:"answered"`
	// InFlight are handed to a slow lane that has not yet said what became of them.
	InFlight uint64 `json:"in_flight"`
	// Drops are lost frames by reason. A reason that never happened may be missing.
	Drops map[string]uint64 `json:"drops"`
}

// Dropped is the sum of Drops.
func (f *Flow) Dropped() uint64 { return sum(f.Drops) }

func sum(counts map[string]uint64) (all uint64) {
	for _, n := range counts {
		all += n
	}
	return all
}

// Accounted is the right side of the equation that Flow states.
func (f *Flow) Accounted() uint64 {
	return f.Delivered + f.Flooded + f.ToHost + f.ToWire + f.Answered + f.InFlight + f.Dropped()
}

// Unaccounted is Received - Accounted: 0 unless a frame got lost unseen. While
// frames flow it may be off by those that were counted between two loads.
func (f *Flow) Unaccounted() int64 { return int64(f.Received - f.Accounted()) }

// PortStats are the counters of one port. Rx and Tx are as the container sees
// them: it receives Rx and transmits Tx.
type PortStats struct {
	// Name of the port.
	Name string `json:"name"`
	// RxFrames and RxBytes were delivered into the container.
	RxFrames uint64 `json:"rx_frames"`
	RxBytes  uint64 `json:"rx_bytes"`
	// RxDrops are frames for the container that it did not get, by reason.
	RxDrops map[string]uint64 `json:"rx_drops"`
	// Tx is what became of the frames that the container sent.
	Tx Flow `json:"tx"`
	// TxRefused says which of Tx the queue itself threw away, so that no worker
	// looked at them: oversize, which Tx drops as too_big, and malformed; and
	// errors, its system calls that failed, which are no frames.
	TxRefused map[string]uint64 `json:"tx_refused"`
	// SlowLane says that the container costs so much time that it has a
	// thread of its own.
	SlowLane bool `json:"slow_lane,omitempty"`
}

// Dropped is how many frames were lost, of those for the container and of those
// that it sent.
func (p *PortStats) Dropped() uint64 { return sum(p.RxDrops) + p.Tx.Dropped() }

// SocketStats are the kernel's counters of the AF_XDP socket of one queue (struct
// xdp_statistics of linux/if_xdp.h), and our own of its ring; they go on where
// the socket is closed and another one takes its place.
type SocketStats struct {
	// Queue of the NIC that the socket serves.
	Queue int `json:"queue"`
	// Received and Sent are frames that came off and went onto its rings.
	Received uint64 `json:"received"`
	Sent     uint64 `json:"sent"`
	// Unread are frames that stood in the ring of a socket that was closed.
	Unread uint64 `json:"unread"`
	// RxDropped, RxInvalidDescs, TxInvalidDescs, RxRingFull,
	// FillRingEmpty and TxRingEmpty are as the kernel defines them.
	RxDropped      uint64 `json:"rx_dropped"`
	RxInvalidDescs uint64 `json:"rx_invalid_descs"`
	TxInvalidDescs uint64 `json:"tx_invalid_descs"`
	RxRingFull     uint64 `json:"rx_ring_full"`
	FillRingEmpty  uint64 `json:"fill_ring_empty"`
	TxRingEmpty    uint64 `json:"tx_ring_empty"`
	// TxErrors are refused kicks.
	TxErrors uint64 `json:"tx_errors"`
}

// KernelStats are the counters of the XDP program and of the sockets.
type KernelStats struct {
	// Redirected are frames that the program gave to a socket, by reason.
	Redirected map[string]uint64 `json:"redirected"`
	// Passed are frames that the program left to the host, by reason.
	Passed map[string]uint64 `json:"passed"`
	// Sockets, by queue.
	Sockets []SocketStats `json:"sockets"`
}

// Stats are all counters, read at one time. They begin at 0 when the daemon
// starts.
type Stats struct {
	// NIC that the counters belong to.
	NIC string `json:"nic"`
	// Time at which they were read.
	Time time.Time `json:"time"`
	// Total is the sum over all sources.
	Total Flow `json:"total"`
	// Wire, Host, Containers and Injected are its sources: the NIC, the host
	// port, all containers together, and frames made by the daemon itself.
	Wire       Flow `json:"wire"`
	Host       Flow `json:"host"`
	Containers Flow `json:"containers"`
	Injected   Flow `json:"injected"`
	// WireFrames left by the sockets, each segment of a super-frame counted.
	WireFrames uint64 `json:"wire_frames"`
	// WholeFrames left by the kernel's transmit path (--wire-gso) and are not among
	// WireFrames, each segment of a super-frame counted.
	WholeFrames uint64 `json:"whole_frames"`
	// Kernel half.
	Kernel KernelStats `json:"kernel"`
	// Ports that were asked for, sorted by name.
	Ports []PortStats `json:"ports"`
}
