package demux

// Source is what became of the frames of one source: the wire, the host, the
// control plane or a port. While nothing moves,
//
//	Received = Delivered + Flooded + ToHost + ToWire + Answered + InFlight + Σ Drops
//
// holds exactly; while frames move, a reader may see a batch half counted.
type Source struct {
	// Received counts the frames taken from this source, and Bytes theirs. A
	// super-frame is one frame. What a lane consumed and did not yield (see
	// Lossy) has no bytes here, and stands in Drops.
	Received, Bytes uint64
	// Delivered went into a container's queue, Flooded into the queues of
	// several ports (counted once), ToHost into the host port's queue.
	Delivered, Flooded, ToHost uint64
	// ToWire was committed to the NIC, whole or in segments.
	ToWire uint64
	// Answered was answered by the switch itself (ARP, Neighbour Discovery),
	// or was swallowed because it already did what the frame asks.
	Answered uint64
	// InFlight lies in a mailbox or on a slow lane.
	InFlight uint64
	// Drops are the lost ones by Reason.
	Drops [NumReasons]uint64
}

// Dropped is the sum over all reasons.
func (s *Source) Dropped() (n uint64) {
	for _, d := range s.Drops {
		n += d
	}
	return n
}

// Unaccounted is Received minus everything that became of it: 0 while nothing
// moves.
func (s *Source) Unaccounted() int64 {
	return int64(s.Received - s.Delivered - s.Flooded - s.ToHost - s.ToWire - s.Answered - s.InFlight - s.Dropped())
}

// Add adds o to s.
func (s *Source) Add(o *Source) {
	s.Received += o.Received
	s.Bytes += o.Bytes
	s.Delivered += o.Delivered
	s.Flooded += o.Flooded
	s.ToHost += o.ToHost
	s.ToWire += o.ToWire
	s.Answered += o.Answered
	s.InFlight += o.InFlight
	for i := range s.Drops {
		s.Drops[i] += o.Drops[i]
	}
}

// Totals is the state of all counters.
type Totals struct {
	// The sources. Ports is the sum over all ports, those that were detached
	// included; All is the sum of the four.
	Wire, Host, Injected, Ports, All Source
	// WireFrames and WireBytes are what was committed to the NIC: segments,
	// answers and ICMP errors included, VLAN tags too.
	WireFrames, WireBytes uint64
	// WholeFrames and WholeBytes left by the second way of a WholeLink, a
	// super-frame as the segments that it makes.
	WholeFrames, WholeBytes uint64
	// Built counts answers and ICMP errors that the switch made and sent to
	// the wire or to a port, BuiltLost those for which there was no room. They
	// are nobody's received frames, so they stand beside the equation.
	Built, BuiltLost uint64
	// SlowLanes is how many ports are on a slow lane now, counted per worker;
	// SlowMoves how often one was moved there.
	SlowLanes int
	SlowMoves uint64
	// Ports attached now, the host port not among them.
	Attached int
	// Workers has one entry per worker.
	Workers []WorkerStats
}

// WorkerStats is the state of one worker.
type WorkerStats struct {
	Running bool
	// Breaths counts rounds over links and lanes, Sleeps how often the worker
	// slept because there was nothing to do.
	Breaths, Sleeps uint64
	// Active is how many lanes it polls now.
	Active int
}

// PortStats is one port's counters.
type PortStats struct {
	ID   PortID
	Name string
	// RxFrames and RxBytes went into the container's queue, RxBuilt of the
	// switch's own frames (answers, ICMP errors) beside them.
	RxFrames, RxBytes, RxBuilt uint64
	// RxDrops are frames that were on their way to this port. Each stands in
	// the Drops of its source as well.
	RxDrops [NumReasons]uint64
	// Tx is what the container sent, and what became of it.
	Tx Source
	// Slow says that a worker reaches the port by a slow lane.
	Slow bool
}

// source sums the source side of the sheets. The caller holds Switch.mu.
func (l *ledger) source() (s Source) {
	s.InFlight = uint64(max(0, int64(l.inFlight()))) // below 0 only while frames move
	for _, w := range l.sheets {
		s.Received += w.received.load()
		s.Bytes += w.bytes.load()
		s.Delivered += w.delivered.load()
		s.Flooded += w.flooded.load()
		s.ToHost += w.toHost.load()
		s.ToWire += w.toWire.load()
		s.Answered += w.answered.load()
		for i := range s.Drops {
			s.Drops[i] += w.drops[i].load()
		}
	}
	lost := l.losses()
	s.Received += lost.tooBig + lost.malformed
	s.Drops[TooBig] += lost.tooBig
	s.Drops[Malformed] += lost.malformed
	return s
}

// Stats sums all counters. Any goroutine may call it; it disturbs no worker.
func (s *Switch) Stats() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Totals{Wire: s.wire.source(), Host: s.hostBooks.source(), Injected: s.injected.source()}
	s.foldRetired()
	t.Ports, t.Built, t.BuiltLost = s.past.Source, s.past.built, s.past.builtLost
	for _, p := range s.ports {
		if p != nil && p.id.Slot >= FirstSlot {
			t.addLedger(p.books)
			t.Attached++
		}
	}
	for _, l := range s.retired {
		t.addLedger(l)
	}
	t.addBuilt(s.wire)
	t.addBuilt(s.hostBooks)
	for _, src := range []*Source{&t.Wire, &t.Host, &t.Injected, &t.Ports} {
		t.All.Add(src)
	}
	s.workerStats(&t)
	return t
}

func (t *Totals) addLedger(l *ledger) {
	src := l.source()
	t.Ports.Add(&src)
	t.addBuilt(l)
}

func (t *Totals) addBuilt(l *ledger) {
	for _, w := range l.sheets {
		t.Built += w.built.load()
		t.BuiltLost += w.builtLost.load()
	}
}

func (s *Switch) workerStats(t *Totals) {
	for _, w := range s.workers {
		t.WireFrames += w.wireFrames.load()
		t.WireBytes += w.wireBytes.load()
		t.WholeFrames += w.wholeFrames.load()
		t.WholeBytes += w.wholeBytes.load()
		t.SlowMoves += w.slowMoves.load()
		t.SlowLanes += int(w.slowLanes.Load())
		t.Workers = append(t.Workers, WorkerStats{
			Running: w.running.Load(), Breaths: w.breaths.Load(), Sleeps: w.sleeps.load(),
			Active: int(w.activeLanes.Load()),
		})
	}
}

// PortStats returns one port's counters, or ErrNoPort. Any goroutine may call
// it; it disturbs no worker. The host port is one, too: see HostID.
func (s *Switch) PortStats(id PortID) (PortStats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.port(id)
	if p == nil {
		return PortStats{}, ErrNoPort
	}
	return p.stats(), nil
}

// AllPortStats returns the counters of every attached port in the order of
// their slots, the host port first if there is one.
func (s *Switch) AllPortStats() []PortStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]PortStats, 0, len(s.ports))
	for _, p := range s.ports {
		if p != nil {
			out = append(out, p.stats())
		}
	}
	return out
}

func (p *port) stats() PortStats {
	st := PortStats{ID: p.id, Name: p.Name, Tx: p.books.source()}
	for _, w := range p.books.sheets {
		st.RxFrames += w.rxFrames.load()
		st.RxBytes += w.rxBytes.load()
		st.RxBuilt += w.built.load()
		for i := range st.RxDrops {
			st.RxDrops[i] += w.rxDrops[i].load()
		}
	}
	for _, l := range p.lanes {
		st.Slow = st.Slow || l.st.slow.Load() != nil
	}
	return st
}

// past is what detached ports had counted.
type past struct {
	Source
	built, builtLost uint64
}

// foldRetired adds the ledgers of detached ports to the past once no worker is
// in the middle of a batch of theirs and none of their frames is in flight any
// more. The caller holds mu.
func (s *Switch) foldRetired() {
	keep := s.retired[:0]
	for _, l := range s.retired {
		if !l.ended || l.inFlight() != 0 {
			keep = append(keep, l)
			continue
		}
		src := l.source()
		s.past.Add(&src)
		for _, w := range l.sheets {
			s.past.built += w.built.load()
			s.past.builtLost += w.builtLost.load()
		}
	}
	clear(s.retired[len(keep):])
	s.retired = keep
}
