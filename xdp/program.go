package xdp

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/xdp/bpf"
)

// ProgramConfig sizes the program's maps. What is for MAC and IPv4 addresses, 32 to
// 64 bytes each, and for IPv6 addresses, some 100 bytes, is taken when the program is
// loaded. 0 means the default.
type ProgramConfig struct {
	MaxExact    int // addresses of each family that stand alone; default 32768
	MaxPrefixes int // prefixes of each family; default 4096
	MaxMACs     int // MAC identities; default 16384
	Queues      int // queues of the NIC that may get a socket; default 64
}

const maxEntries = 1 << 24

// Validate returns the configuration with its defaults filled in, or an error
// that wraps ErrConfig.
func (c ProgramConfig) Validate() (ProgramConfig, error) {
	setDefault(&c.MaxExact, 32768)
	setDefault(&c.MaxPrefixes, 4096)
	setDefault(&c.MaxMACs, 16384)
	setDefault(&c.Queues, 64)
	for name, v := range map[string]int{"MaxExact": c.MaxExact, "MaxPrefixes": c.MaxPrefixes, "MaxMACs": c.MaxMACs, "Queues": c.Queues} {
		if v < 0 || v > maxEntries {
			return c, fmt.Errorf("%w: %s is %d: choose a number from 1 to %d", ErrConfig, name, v, maxEntries)
		}
	}
	return c, nil
}

// Program is the steering program with its maps. Any goroutine may use it.
type Program struct {
	objects bpf.SteerObjects
	limits  ProgramConfig

	mu      sync.Mutex
	closed  bool
	link    link.Link // nil while not attached
	ifindex int       // of the device, while attached
	native  error     // why Attach fell back to generic
	flags   uint16    // the last that were written
	mac     [6]byte
	rules   map[ruleKey]Rule
	held    [tables]int // how many of them each table holds
	lines   lines
	crowded [tables]map[ruleKey]struct{} // those in a hash map, their line being full
}

// LoadProgram loads the program and makes its maps. It touches no NIC. It needs
// CAP_BPF and CAP_NET_ADMIN, and a kernel of 5.18 or later (the sockets need 6.6).
func LoadProgram(c ProgramConfig) (*Program, error) {
	c, err := c.Validate()
	if err != nil {
		return nil, err
	}
	spec, err := bpf.LoadSteer()
	if err != nil {
		return nil, fmt.Errorf("read the steering program: %w", err)
	}
	setMapSizes(spec, c)
	p := &Program{limits: c, rules: make(map[ruleKey]Rule)}
	for t := range tables {
		if t.inLines() {
			p.crowded[t] = make(map[ruleKey]struct{})
		}
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return nil, loadError(err)
	}
	if p.lines, err = mapLines(p.objects.Lines); err != nil {
		return nil, oneLine(err, p.objects.Close())
	}
	return p, nil
}

func setMapSizes(spec *ebpf.CollectionSpec, c ProgramConfig) {
	for name, n := range map[string]int{
		bpf.SteerMapSockets: c.Queues,
		bpf.SteerMapLines:   lineCount(c.MaxExact + c.MaxMACs),
		bpf.SteerMapMacs:    c.MaxMACs,
		bpf.SteerMapExact4:  c.MaxExact, bpf.SteerMapExact6: c.MaxExact,
		bpf.SteerMapPrefixes4: c.MaxPrefixes, bpf.SteerMapPrefixes6: c.MaxPrefixes,
	} {
		spec.Maps[name].MaxEntries = uint32(n)
	}
}

func loadError(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("load the steering program: run as root or with CAP_BPF and CAP_NET_ADMIN (%w)", err)
	case kernelOlder(5, 18):
		return &UnsupportedError{Feature: "XDP programs with fragments (xdp.frags)", Min: "6.6", Err: err}
	}
	return fmt.Errorf("load the steering program: %w", err)
}

// Close detaches the program and lets its maps go.
func (p *Program) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.closed = true
	return oneLine(p.detach(), p.lines.close(), p.objects.Close())
}

// SetNIC says which MAC address is the NIC's own. It may change at any time;
// until the first call no IP identity gets a frame but ARP and ND.
func (p *Program) SetNIC(mac [6]byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	before := p.mac
	p.mac = mac
	if err := p.writeSettings(p.flags); err != nil {
		p.mac = before
		return err
	}
	return nil
}

// writeSettings gives the program the NIC's MAC and what to look up.
func (p *Program) writeSettings(flags uint16) error {
	v := bpf.SteerSettings{Mac: macWords(p.mac), Flags: flags, LineShift: p.lines.shift}
	if err := p.objects.Config.Put(uint32(0), v); err != nil {
		return fmt.Errorf("set up the steering program: %w", err)
	}
	p.flags = flags
	return nil
}

// SetSocket puts s into the slot of its queue: from now on frames of known
// addresses that arrive there are redirected to it. A socket that stood there
// gets no more. The socket must be one of that queue: the kernel would drop the
// frames of another, and count them nowhere.
func (p *Program) SetSocket(queue int, s *Socket) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if err := p.checkSlot(queue, s); err != nil {
		return err
	}
	s.ctl.Lock()
	defer s.ctl.Unlock()
	if s.closed || s.seized {
		return ErrClosed
	}
	// A driver in zero-copy takes buffers only after it was woken once.
	descriptorWaker(s.fd).receive()
	if err := p.objects.Sockets.Put(uint32(queue), uint32(s.fd)); err != nil {
		return fmt.Errorf("put a socket into slot %d: %w", queue, err)
	}
	return nil
}

func (p *Program) checkSlot(queue int, s *Socket) error {
	switch {
	case queue < 0 || queue >= p.limits.Queues:
		return fmt.Errorf("%w: queue %d: the program was loaded for queues 0 to %d", ErrConfig, queue, p.limits.Queues-1)
	case queue != s.queue:
		return fmt.Errorf("%w: slot %d for a socket of queue %d: give each its own", ErrConfig, queue, s.queue)
	case p.link != nil && p.ifindex != s.ifindex:
		return fmt.Errorf("%w: the program is on device %d, the socket on %d", ErrConfig, p.ifindex, s.ifindex)
	}
	return nil
}

// ClearSocket empties the slot of a queue. When it returns no frame goes to the
// socket that stood there any more, and every one that did has arrived in its
// receive ring or in its drop counters: what Recv then yields is all.
func (p *Program) ClearSocket(queue int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	err := p.objects.Sockets.Delete(uint32(queue))
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("empty slot %d: %w", queue, err)
	}
	waitForReaders()
	return nil
}

// waitForReaders returns when every run of the program that began before has
// ended, with the delivery of what it redirected: that all happens within one
// RCU read side, and this barrier waits for those. Kernels without the barrier
// (nohz_full) lose nothing but that certainty.
func waitForReaders() {
	const membarrierGlobal = 1 // MEMBARRIER_CMD_GLOBAL
	_, _, _ = unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0)
}

// Rescue takes a socket from its worker, whatever that is doing: the slot first,
// so that the host has its frames back, then the socket. See Socket.Seize.
func (p *Program) Rescue(s *Socket) error {
	return oneLine(p.ClearSocket(s.Queue()), s.Seize())
}
