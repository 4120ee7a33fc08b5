// Package config finds out what the user wants: settings from flags over the
// environment over a TOML file over defaults, and the ports of a file for apply.
package config

import (
	"math/bits"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// DefaultFile is read if it is there and no other file is named.
const DefaultFile = "/etc/xdpdemux/xdpdemux.toml"

// The words for Attach.Mode, Attach.ZeroCopy and Attach.WireChecksum.
const (
	ModeAuto    = "auto"
	ModeNative  = "native"
	ModeGeneric = "generic"

	ZeroCopyOff  = "off"
	ZeroCopyAuto = "auto"
	ZeroCopyOn   = "on"

	ChecksumAuto     = "auto"
	ChecksumTrust    = "trust"
	ChecksumComplete = "complete"
)

// Attach is every setting there is. Commands other than attach use only the
// first three.
type Attach struct {
	// NIC is the name of the interface; empty means the only one that has a daemon.
	NIC string
	// RunDir holds the control sockets.
	RunDir string
	// StateDir holds what survives the daemon.
	StateDir string
	// Mode of the XDP program: auto (native, else generic), native or generic.
	Mode string
	// ZeroCopy: off, auto (if the driver can) or on (else fail).
	ZeroCopy string
	// Queues of the NIC to serve; 0 means all. A queue without a socket leaves
	// its frames to the host, so fewer than all is for measurements.
	Queues int
	// Workers is the number of threads; 0 means one a queue, at most 4 and not
	// more than there are cores.
	Workers int
	// RingSize in frames, of each ring of each queue: a power of two.
	RingSize int
	// FrameSize in bytes, of each chunk of packet memory: 2048 or 4096. Longer
	// frames take several.
	FrameSize int
	// MaxPorts is the most ports there may be.
	MaxPorts int
	// AllowLinkReset permits drivers that reset the link when a program comes or goes.
	AllowLinkReset bool
	// NoHostPort leaves out the interface that joins host and containers.
	NoHostPort bool
	// WireChecksum says what to think of the TCP and UDP checksums of frames
	// from the wire: trust them, complete those that are unfinished, or auto:
	// complete on a veth, whose wire carries unfinished ones, and trust else.
	WireChecksum string
	// WireGSO has the kernel, and the NIC where it can, cut and complete the TCP
	// that containers send to the wire. It then leaves by the host's own transmit
	// path, through tc, in place of the sockets.
	WireGSO bool
	// BusyPoll is how long, in microseconds, the kernel may poll the NIC for a
	// worker that asks for frames; 0 leaves it to interrupts. BusyPollBudget is
	// how many frames one poll may take.
	BusyPoll, BusyPollBudget int
}

// Defaults are the settings that nobody changed.
func Defaults() Attach {
	return Attach{
		RunDir:    "/run/xdpdemux",
		StateDir:  "/var/lib/xdpdemux",
		Mode:      ModeAuto,
		ZeroCopy:  ZeroCopyOff,
		RingSize:  2048,
		FrameSize: 4096,
		MaxPorts:  16384,

		WireChecksum:   ChecksumAuto,
		BusyPollBudget: 64,
	}
}

// The bounds of an Attach.
const (
	MinRingSize = 64
	MaxRingSize = 32768
	MaxQueues   = 1024
	MaxWorkers  = 64

	MaxBusyPoll       = 10000
	MaxBusyPollBudget = 1 << 15
)

// Validate checks what can be checked without looking at the machine. The
// error is an *api.Error of CodeUsage that names the setting.
func (a *Attach) Validate() error {
	if a.NIC != "" {
		if err := api.ValidateIfName(a.NIC); err != nil {
			return err
		}
	}
	for _, check := range []func() error{a.checkWords, a.checkCounts, a.checkSizes} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func usage(hint, format string, args ...any) error {
	return api.Errorf(api.CodeUsage, format, args...).WithHint(hint)
}

func (a *Attach) checkWords() error {
	switch {
	case a.RunDir == "":
		return usage("leave it out for the default", "run-dir: it is empty")
	case a.StateDir == "":
		return usage("leave it out for the default", "state-dir: it is empty")
	case !slices.Contains([]string{ModeAuto, ModeNative, ModeGeneric}, a.Mode):
		return usage("give auto, native or generic", "mode %q: there is no such mode", a.Mode)
	case !slices.Contains([]string{ZeroCopyOff, ZeroCopyAuto, ZeroCopyOn}, a.ZeroCopy):
		return usage("give off, auto or on", "zero-copy %q: there is no such choice", a.ZeroCopy)
	case !slices.Contains([]string{ChecksumAuto, ChecksumTrust, ChecksumComplete}, a.WireChecksum):
		return usage("give auto, trust or complete", "wire-checksum %q: there is no such choice", a.WireChecksum)
	}
	return nil
}

func (a *Attach) checkCounts() error {
	switch {
	case a.Queues < 0 || a.Queues > MaxQueues:
		return usage("give 1 to 1024, or 0 for all", "queues %d: it is out of range", a.Queues)
	case a.Workers < 0 || a.Workers > MaxWorkers:
		return usage("give 1 to 64, or 0 to let the daemon choose", "workers %d: it is out of range", a.Workers)
	case a.MaxPorts < 1 || a.MaxPorts > api.MaxPorts:
		return usage("give 1 to 65534", "max-ports %d: it is out of range", a.MaxPorts)
	case a.BusyPoll < 0 || a.BusyPoll > MaxBusyPoll:
		return usage("give 1 to 10000 microseconds, or 0 for interrupts", "busy-poll %d: it is out of range", a.BusyPoll)
	case a.BusyPollBudget < 1 || a.BusyPollBudget > MaxBusyPollBudget:
		return usage("give 1 to 32768 frames", "busy-poll-budget %d: it is out of range", a.BusyPollBudget)
	}
	return nil
}

func (a *Attach) checkSizes() error {
	switch {
	case bits.OnesCount(uint(a.RingSize)) != 1 || a.RingSize < 0:
		return usage("give 64, 128, … 32768", "ring-size %d: it is no power of two", a.RingSize)
	case a.RingSize < MinRingSize || a.RingSize > MaxRingSize:
		return usage("give 64 to 32768", "ring-size %d: it is out of range", a.RingSize)
	case bits.OnesCount(uint(a.FrameSize)) != 1 || a.FrameSize < 0:
		return usage("give 2048 or 4096", "frame-size %d: it is no power of two", a.FrameSize)
	case a.FrameSize != 2048 && a.FrameSize != 4096:
		return usage("give 2048 or 4096", "frame-size %d: the kernel takes no such size", a.FrameSize)
	}
	return nil
}
