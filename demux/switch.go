package demux

import (
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how large a Switch is.
type Config struct {
	// Workers is how many workers there are, 1 to 64; each runs by its own
	// call of Run.
	Workers int
	// MaxPorts is how many ports may be attached at a time, the host port not
	// counted; 0 = 16384, at most MaxSlot-1.
	MaxPorts int
	// SlowThread, if set, is called once on every thread that serves slow
	// lanes, at its start: the place to make it nice. The goroutine is locked
	// to that thread, which ends with it.
	SlowThread func()
	// ThreadTime, if set, returns the processor time in nanoseconds that the
	// calling thread has used. It judges a port whose Deliver seems dear; the
	// clock on the wall also counts the time in which the worker was not run.
	ThreadTime func() int64
	// MaxSlowThreads bounds these threads; ports beyond it share them. 0 = 64.
	MaxSlowThreads int
}

func (c *Config) complete() error {
	if c.MaxPorts == 0 {
		c.MaxPorts = 16384
	}
	if c.MaxSlowThreads == 0 {
		c.MaxSlowThreads = 64
	}
	switch {
	case c.Workers < 1 || c.Workers > 64:
		return &ConfigError{"", "workers", c.Workers, "are not within 1 and 64"}
	case c.MaxPorts < 1 || c.MaxPorts > MaxSlot-1:
		return &ConfigError{"", "port limit", c.MaxPorts, fmt.Sprintf("is not within 1 and %d", MaxSlot-1)}
	case c.MaxSlowThreads < 1:
		return &ConfigError{"", "slow threads", c.MaxSlowThreads, "are fewer than 1"}
	}
	return nil
}

// Switch joins links, lanes and the host. Its methods may be called from any
// goroutine; those that change it wait for each other, and never make a worker
// wait.
type Switch struct {
	cfg        Config
	table      atomic.Pointer[Table]
	workers    []*worker
	relays     chan relay
	neighbours chan Neighbour
	slow       slowPool
	clock      func() int64 // nanoseconds, monotonic
	threadTime func() int64 // nanoseconds, of the calling thread

	wire, injected, hostBooks *ledger

	ctl sync.Mutex // held by whoever changes the switch, also while it waits
	// What only ctl guards.
	hops  map[hopKey]*nextHop
	kinds []reflect.Type // of the Couriers
	free  []uint32       // slots given back, oldest first
	mail  []mailRow

	mu sync.Mutex // held briefly: whoever changes what follows holds both
	// ports by slot; gens is the generation of each slot's latest port.
	ports   []*port
	gens    []uint32
	retired []*ledger // of detached ports that still have frames in flight
	past    past
}

// New makes a switch with no ports and no host port. It needs no closing; its
// workers end with their contexts, its slow lanes with their ports.
func New(cfg Config) (*Switch, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	start := time.Now()
	s := &Switch{
		cfg:        cfg,
		relays:     make(chan relay, relayDepth),
		neighbours: make(chan Neighbour, neighbourDepth),
		clock:      func() int64 { return int64(time.Since(start)) },
		wire:       newLedger(cfg.Workers),
		injected:   newLedger(cfg.Workers),
		hostBooks:  newLedger(cfg.Workers),
		hops:       make(map[hopKey]*nextHop),
		ports:      make([]*port, FirstSlot),
		gens:       []uint32{0, 1},
	}
	if s.threadTime = cfg.ThreadTime; s.threadTime == nil {
		s.threadTime = s.clock
	}
	s.slow = slowPool{max: cfg.MaxSlowThreads, prepare: cfg.SlowThread, clock: s.clock}
	s.table.Store(newTable(cfg.Workers))
	for i := range cfg.Workers {
		s.workers = append(s.workers, newWorker(s, i))
	}
	return s, nil
}

// Attach adds ports, all or none, in one snapshot, and returns their PortIDs
// in the same order. A *ConfigError, a *ConflictError or ErrTooMany says why
// not. Traffic of other ports is not disturbed. The lanes belong to the
// workers from now until Detach or Update returns.
func (s *Switch) Attach(ports ...PortConfig) ([]PortID, error) {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	fresh, err := s.newPorts(ports)
	if err != nil {
		return nil, err
	}
	t := s.table.Load().edit()
	if err := s.addAll(t, fresh); err != nil {
		return nil, err
	}
	for _, p := range fresh {
		s.useHops(t, p)
	}
	s.publish(t, func() { s.adopt(fresh) })
	return s.announce(fresh), nil
}

// newPorts makes the ports and chooses their slots, and changes nothing.
func (s *Switch) newPorts(cfgs []PortConfig) ([]*port, error) {
	if s.attached()+len(cfgs) > s.cfg.MaxPorts {
		return nil, fmt.Errorf("%w (%d)", ErrTooMany, s.cfg.MaxPorts)
	}
	fresh := make([]*port, 0, len(cfgs))
	for i, c := range cfgs {
		p, err := newPort(c, len(s.workers))
		if err != nil {
			return nil, err
		}
		p.id = s.nextID(i)
		p.books = newLedger(len(s.workers))
		s.makeLanes(p, nil)
		fresh = append(fresh, p)
	}
	return fresh, nil
}

func (s *Switch) attached() int { return len(s.ports) - FirstSlot - len(s.free) }

// nextID is the identity that the i-th of a batch gets: first slots given
// back, oldest first, then new ones.
func (s *Switch) nextID(i int) PortID {
	if i < len(s.free) {
		slot := s.free[i]
		return PortID{slot, s.gens[slot] + 1}
	}
	return PortID{uint32(len(s.ports) + i - len(s.free)), 1}
}

func (s *Switch) addAll(t *Table, fresh []*port) error {
	name := func(slot uint32) string { return s.nameAmong(fresh, slot) }
	for _, p := range fresh {
		if err := t.addPort(p, name); err != nil {
			return err
		}
	}
	return nil
}

// adopt enters the ports where control and statistics find them.
func (s *Switch) adopt(fresh []*port) {
	s.free = s.free[min(len(fresh), len(s.free)):]
	for _, p := range fresh {
		for int(p.id.Slot) >= len(s.ports) {
			s.ports, s.gens = append(s.ports, nil), append(s.gens, 0)
		}
		s.gens[p.id.Slot] = p.id.Gen
		s.enter(p)
	}
}

// enter makes p the port of its slot. The caller holds mu.
func (s *Switch) enter(p *port) {
	s.ports[p.id.Slot] = p
	p.books.use(p.Lanes)
}

// announce has every worker look at the new lanes once.
func (s *Switch) announce(fresh []*port) []PortID {
	ids := make([]PortID, len(fresh))
	for i, p := range fresh {
		ids[i] = p.id
	}
	s.activate(ids...)
	return ids
}

// Update replaces everything that is configured of a port, in one snapshot.
// Lanes that are the same stay in use and lose nothing; it returns once no
// worker can touch those that were replaced. Counters go on.
func (s *Switch) Update(id PortID, cfg PortConfig) error {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	old := s.port(id)
	if old == nil || id.Slot < FirstSlot {
		return ErrNoPort
	}
	p, err := newPort(cfg, len(s.workers))
	if err != nil {
		return err
	}
	p.id, p.books = id, old.books
	s.makeLanes(p, old)
	t := s.table.Load().edit()
	t.removePort(old)
	if err := t.addPort(p, s.nameOf); err != nil {
		return err
	}
	s.useHops(t, p)
	s.leaveHops(t, old)
	s.returnToHost(t)
	s.publish(t, func() { s.enter(p) })
	s.replaced(old, p)
	return nil
}

// Detach removes ports, all or none, in one snapshot. It returns once no
// worker and no slow lane can touch their lanes, which are the caller's then.
func (s *Switch) Detach(ids ...PortID) error {
	s.ctl.Lock()
	defer s.ctl.Unlock()
	t := s.table.Load().edit()
	old := make([]*port, 0, len(ids))
	for i, id := range ids {
		p := s.port(id)
		if p == nil || id.Slot < FirstSlot || containsID(ids[:i], id) {
			return ErrNoPort
		}
		t.removePort(p)
		old = append(old, p)
	}
	for _, p := range old {
		s.leaveHops(t, p)
	}
	s.returnToHost(t)
	s.publish(t, func() { s.forget(old) })
	s.letGo()
	s.grace()
	s.retire(old)
	return nil
}

func containsID(ids []PortID, id PortID) bool {
	for _, o := range ids {
		if o == id {
			return true
		}
	}
	return false
}

func (s *Switch) forget(old []*port) {
	for _, p := range old {
		s.ports[p.id.Slot] = nil
		s.retired = append(s.retired, p.books)
	}
}

// retire ends what served the lanes of ports that no worker can reach any
// more, and only then gives their slots back.
func (s *Switch) retire(old []*port) {
	for _, p := range old {
		stopSlow(p.lanes, nil)
		s.free = append(s.free, p.id.Slot)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range old {
		p.books.ended = true
	}
	s.foldRetired()
}

// port returns the attached port of that identity, or nil.
func (s *Switch) port(id PortID) *port {
	if p := s.portAt(id.Slot); p != nil && p.id == id {
		return p
	}
	return nil
}

func (s *Switch) portAt(slot uint32) *port {
	if int(slot) < len(s.ports) {
		return s.ports[slot]
	}
	return nil
}

func (s *Switch) nameOf(slot uint32) string { return s.nameAmong(nil, slot) }

func (s *Switch) nameAmong(fresh []*port, slot uint32) string {
	if p := s.portAt(slot); p != nil {
		return p.Name
	}
	for _, p := range fresh {
		if p.id.Slot == slot {
			return p.Name
		}
	}
	return fmt.Sprintf("slot %d", slot)
}
