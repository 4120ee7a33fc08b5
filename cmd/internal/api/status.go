package api

import "time"

// The two ways in which the XDP program may be attached.
const (
	ModeNative  = "native"
	ModeGeneric = "generic"
)

// The states of a NIC under a daemon.
const (
	// NICUp: frames flow.
	NICUp = "up"
	// NICDown: the device is there and does not run. Local traffic goes on.
	NICDown = "down"
	// NICGone: the device was removed; the daemon waits for it to come back.
	NICGone = "gone"
	// NICUnserved: the device is there and cannot be served, for NICReason; the
	// daemon tries again by and by. Local traffic goes on.
	NICUnserved = "unserved"
)

// Status is a daemon and its NIC.
type Status struct {
	// NIC is the name that the daemon was attached by.
	NIC string `json:"nic"`
	// IfIndex and IfName are the device's index and its name now.
	IfIndex int    `json:"ifindex"`
	IfName  string `json:"ifname"`
	// NICState is up, down, gone or unserved.
	NICState string `json:"nic_state"`
	// NICReason says why the NIC is unserved, or why frames do not flow on some
	// of its queues; empty while all is well.
	NICReason string `json:"nic_reason,omitempty"`
	// Driver of the device, as ethtool names it.
	Driver string `json:"driver"`
	// MAC of the device, shared by all IP identities.
	MAC MAC `json:"mac,omitzero"`
	// MTU of the device in bytes.
	MTU int `json:"mtu"`
	// Mode in which the XDP program runs: native or generic.
	Mode string `json:"mode"`
	// ZeroCopy says that all sockets obtained zero-copy.
	ZeroCopy bool `json:"zero_copy"`
	// Queues of the NIC that are served, by Workers threads.
	Queues  int `json:"queues"`
	Workers int `json:"workers"`
	// WireChecksum is what is thought of checksums from the wire: trust, or
	// complete, which completes unfinished ones.
	WireChecksum string `json:"wire_checksum"`
	// BusyPoll in microseconds that is in force on all sockets; 0 is none.
	BusyPoll int `json:"busy_poll,omitempty"`
	// HostPort is the interface that joins host and containers; empty if none.
	HostPort string `json:"host_port,omitempty"`
	// Ports that exist, and how many there may be.
	Ports    int `json:"ports"`
	MaxPorts int `json:"max_ports"`
	// Since is when the daemon became ready.
	Since time.Time `json:"since"`
	// PID of the daemon, and Version of its program.
	PID     int    `json:"pid"`
	Version string `json:"version"`
	// Warnings are what somebody should see to, one sentence each.
	Warnings []string `json:"warnings,omitempty"`
}

// Plan is what attach chose, or with --dry-run would choose.
type Plan struct {
	// NIC, Driver, MAC and MTU are facts of the device.
	NIC    string `json:"nic"`
	Driver string `json:"driver"`
	MAC    MAC    `json:"mac,omitzero"`
	MTU    int    `json:"mtu"`
	// Mode is native, generic, or, in a dry run that cannot know, auto.
	Mode string `json:"mode"`
	// ZeroCopy is what was asked for (off, auto, on) in a dry run, else what
	// was obtained: off or on.
	ZeroCopy string `json:"zero_copy"`
	// Queues and Workers that serve it.
	Queues  int `json:"queues"`
	Workers int `json:"workers"`
	// RingSize in frames and FrameSize in bytes, of each queue.
	RingSize  int `json:"ring_size"`
	FrameSize int `json:"frame_size"`
	// WireChecksum is what is thought of checksums from the wire: trust, or
	// complete, which completes unfinished ones.
	WireChecksum string `json:"wire_checksum"`
	// BusyPoll in microseconds and BusyPollBudget in frames; 0 is none.
	BusyPoll       int `json:"busy_poll,omitempty"`
	BusyPollBudget int `json:"busy_poll_budget,omitempty"`
	// MemoryBytes is the packet memory of all queues together.
	MemoryBytes int64 `json:"memory_bytes"`
	// HostPort is the interface that joins host and containers; empty if none.
	HostPort string `json:"host_port,omitempty"`
	// MaxPorts is the most ports there may be.
	MaxPorts int `json:"max_ports"`
	// Descriptors that MaxPorts tap ports would need, and the most that the
	// process may open.
	DescriptorsNeeded int `json:"descriptors_needed"`
	DescriptorsLimit  int `json:"descriptors_limit"`
	// DescriptorsPerPort is what one port of each kind holds, and
	// DescriptorsPerMemifClient what a connected client with one ring in each
	// direction adds; each further ring adds two.
	DescriptorsPerPort        map[string]int `json:"descriptors_per_port"`
	DescriptorsPerMemifClient int            `json:"descriptors_per_memif_client"`
	// Adopted are ports of an earlier daemon that live on.
	Adopted int `json:"adopted"`
	// Changes are what attach changes on the NIC, one sentence each.
	Changes []string `json:"changes"`
	// Host says what stays with the host and what bypasses it.
	Host []string `json:"host"`
	// Warnings are worth reading before going on.
	Warnings []string `json:"warnings"`
	// Refusals are why attach would fail. Empty outside a dry run.
	Refusals []string `json:"refusals,omitempty"`
}

// CleanUp is what was left of a daemon that died, and what became of it.
type CleanUp struct {
	// Restored says, one sentence each, what was given back or removed.
	Restored []string `json:"restored"`
	// Failed says what could not be, and why.
	Failed []string `json:"failed"`
}

// DetachResult tells how a NIC was given back.
type DetachResult struct {
	// NIC that was given back.
	NIC string `json:"nic"`
	// Daemon says that a daemon ran and left; else it had died before.
	Daemon bool `json:"daemon"`
	// CleanUp is what was done in place of a daemon that had died.
	CleanUp *CleanUp `json:"clean_up,omitempty"`
}

// Announcer hears how attach goes on. Calls come one at a time, Chosen before
// Ready, Notice at any time.
type Announcer interface {
	// Chosen tells what will be used, before the daemon is ready.
	Chosen(Plan)
	// Ready tells that frames flow.
	Ready(Status)
	// Notice tells in one line what happens to the NIC or a port later on.
	Notice(line string)
}

// The values of AttachEvent.Event.
const (
	EventChosen = "chosen"
	EventReady  = "ready"
	EventNotice = "notice"
)

// AttachEvent is one line of attach -o json: what an Announcer hears.
type AttachEvent struct {
	// Event is chosen, ready or notice.
	Event string `json:"event"`
	// Plan comes with chosen.
	Plan *Plan `json:"plan,omitempty"`
	// Status comes with ready.
	Status *Status `json:"status,omitempty"`
	// Notice comes with notice.
	Notice string `json:"notice,omitempty"`
}
