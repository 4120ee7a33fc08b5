package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Setting is one thing that flag, environment and file may say.
type Setting struct {
	// Key is its name in the file.
	Key string
	// Usage says in one line what it does.
	Usage string

	field func(*Attach) any // *string, *int or *bool
}

// Settings are all of them.
func Settings() []Setting {
	return []Setting{
		{"nic", "the NIC (default: the only one that has a daemon)", func(a *Attach) any { return &a.NIC }},
		{"run_dir", "directory of the control sockets", func(a *Attach) any { return &a.RunDir }},
		{"state_dir", "directory of what survives the daemon", func(a *Attach) any { return &a.StateDir }},
		{"mode", "XDP mode: auto, native or generic", func(a *Attach) any { return &a.Mode }},
		{"zero_copy", "zero-copy sockets: off, auto or on", func(a *Attach) any { return &a.ZeroCopy }},
		{"queues", "NIC queues to serve, 0 for all", func(a *Attach) any { return &a.Queues }},
		{"workers", "worker threads, 0 for one a queue, at most 4 and no more than cores", func(a *Attach) any { return &a.Workers }},
		{"ring_size", "frames in each ring, a power of two", func(a *Attach) any { return &a.RingSize }},
		{"frame_size", "bytes of each chunk of packet memory, 2048 or 4096", func(a *Attach) any { return &a.FrameSize }},
		{"max_ports", "the most ports there may be", func(a *Attach) any { return &a.MaxPorts }},
		{"allow_link_reset", "attach also where the driver resets the link for it", func(a *Attach) any { return &a.AllowLinkReset }},
		{"no_host_port", "do not join the host's own stack to its containers", func(a *Attach) any { return &a.NoHostPort }},
		{"wire_checksum", "TCP and UDP checksums from the wire: auto (complete on a veth), trust or complete", func(a *Attach) any { return &a.WireChecksum }},
		{"wire_gso", "leave cutting and checksums of the TCP that containers send to the kernel and the NIC; it then passes tc", func(a *Attach) any { return &a.WireGSO }},
		{"busy_poll", "microseconds that the kernel polls the NIC for a worker, 0 for interrupts", func(a *Attach) any { return &a.BusyPoll }},
		{"busy_poll_budget", "frames that one busy poll may take", func(a *Attach) any { return &a.BusyPollBudget }},
	}
}

// Flag is the name of the setting's flag, without dashes in front.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Key, "_", "-") }

// Env is the name of the setting's environment variable.
func (s Setting) Env() string { return "XDPDEMUX_" + strings.ToUpper(s.Key) }

// Bool says that the setting is on or off.
func (s Setting) Bool() bool {
	_, ok := s.field(new(Attach)).(*bool)
	return ok
}

// Value is the setting's value in a.
func (s Setting) Value(a *Attach) string {
	switch p := s.field(a).(type) {
	case *int:
		return strconv.Itoa(*p)
	case *bool:
		return strconv.FormatBool(*p)
	case *string:
		return *p
	}
	return ""
}

// Type names what Set takes: string, int or bool.
func (s Setting) Type() string {
	return strings.TrimPrefix(fmt.Sprintf("%T", s.field(new(Attach))), "*")
}

// Set reads a value into a. The error says what the value is not, and nothing else.
func (s Setting) Set(a *Attach, value string) error {
	switch p := s.field(a).(type) {
	case *string:
		*p = value
	case *int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is no whole number", value)
		}
		*p = n
	case *bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		*p = b
	}
	return nil
}

// setTOML reads a value of the file, whose type must fit.
func (s Setting) setTOML(a *Attach, value any) error {
	switch p := s.field(a).(type) {
	case *string:
		v, ok := value.(string)
		if !ok {
			return fmt.Errorf("%v is no string", value)
		}
		*p = v
	case *int:
		v, ok := value.(int64)
		if !ok || int64(int(v)) != v {
			return fmt.Errorf("%v is no whole number", value)
		}
		*p = int(v)
	case *bool:
		v, ok := value.(bool)
		if !ok {
			return fmt.Errorf("%v is neither true nor false", value)
		}
		*p = v
	}
	return nil
}
