package demux

import "slices"

// sheet is what one worker counts about one source and destination of frames:
// the wire, the host, a port, or the control plane. What a destination needs
// per frame comes first, so that a delivery touches one cache line.
type sheet struct {
	rxFrames, rxBytes counter // delivered into the queue
	built             counter // answers and ICMP errors that the switch made, delivered
	builtLost         counter
	received, bytes   counter // taken from this source
	delivered         counter
	toHost            counter
	toWire            counter
	flooded           counter
	answered          counter
	handed            counter // given to a mailbox, to be settled later
	settled           counter // and what became of it is counted too
	drops             [NumReasons]counter
	rxDrops           [NumReasons]counter // of frames on their way to this one
	_                 [3]uint64
}

// ledger is all workers' sheets about one source or destination. The sheets
// are objects of their own, so that no two workers write to one cache line.
type ledger struct {
	sheets []*sheet

	// What Switch.mu guards: the lanes that count losses for themselves, and
	// what those had counted that are not in use any more.
	lanes []Lane
	lost  laneLosses
	// ended: no worker takes frames from this source any more. Also of mu.
	ended bool
}

// laneLosses is what lanes consumed and did not yield.
type laneLosses struct{ tooBig, malformed uint64 }

func (l *laneLosses) add(lane Lane) {
	if c, ok := lane.(Lossy); ok {
		tooBig, malformed := c.Lost()
		l.tooBig, l.malformed = l.tooBig+tooBig, l.malformed+malformed
	}
}

// use has the losses of these lanes counted, too.
func (l *ledger) use(lanes []Lane) {
	for _, lane := range lanes {
		if lane != nil && !containsLane(l.lanes, lane) {
			l.lanes = append(l.lanes, lane)
		}
	}
}

// keep lets go of all lanes but these; what the others have lost stays counted.
func (l *ledger) keep(lanes []Lane) {
	var kept []Lane
	for _, lane := range l.lanes {
		if containsLane(lanes, lane) {
			kept = append(kept, lane)
		} else {
			l.lost.add(lane)
		}
	}
	l.lanes = kept
}

func containsLane(lanes []Lane, lane Lane) bool {
	return slices.ContainsFunc(lanes, func(l Lane) bool { return sameLane(l, lane) })
}

// losses is what all lanes lost, ever.
func (l *ledger) losses() laneLosses {
	sum := l.lost
	for _, lane := range l.lanes {
		sum.add(lane)
	}
	return sum
}

func newLedger(workers int) *ledger {
	l := &ledger{sheets: make([]*sheet, workers)}
	for i := range l.sheets {
		l.sheets[i] = new(sheet)
	}
	return l
}

// inFlight is how many frames of this source lie in mailboxes.
func (l *ledger) inFlight() (n uint64) {
	for _, s := range l.sheets {
		n -= s.settled.load()
	}
	for _, s := range l.sheets {
		n += s.handed.load()
	}
	return n
}

// tally is what a worker counts while it looks at one batch of one source; it
// goes into the source's sheet at the end of the batch.
type tally struct {
	received, bytes, delivered, toHost, toWire, flooded, answered, handed uint64

	drops   [NumReasons]uint64
	dropped bool
}

func (t *tally) drop(r Reason, n int) {
	t.drops[r] += uint64(n)
	t.dropped = true
}

// flush adds the tally to s and clears it.
func (t *tally) flush(s *sheet) {
	addTo(&s.received, &t.received)
	addTo(&s.bytes, &t.bytes)
	addTo(&s.delivered, &t.delivered)
	addTo(&s.toHost, &t.toHost)
	addTo(&s.toWire, &t.toWire)
	addTo(&s.flooded, &t.flooded)
	addTo(&s.answered, &t.answered)
	addTo(&s.handed, &t.handed)
	if !t.dropped {
		return
	}
	for i := range t.drops {
		addTo(&s.drops[i], &t.drops[i])
	}
	t.dropped = false
}

func addTo(c *counter, n *uint64) {
	if *n != 0 {
		c.add(*n)
		*n = 0
	}
}
