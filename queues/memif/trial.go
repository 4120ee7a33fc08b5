package memif

import (
	"sync"
	"sync/atomic"
	"time"
)

// A client cannot make us wait for it, but can make its doorbell dear: the kernel
// goes through all who watch an eventfd, which may be thousands. So a call that
// took long has its queues doubted. A call with one of those is timed by what our
// own thread had of the processor, since it may have been somebody else who ran;
// if it was dear even so, its queues are rung one by one, and each is charged for
// its own. Interrupts are charged as well, but not on average. A queue that has
// spent too much gets a ringer, which no worker waits for.
const (
	trusted uint32 = iota
	doubted
	single
	outcast
)

const (
	// fairShare is what a doorbell may take of a worker's time, on average.
	fairShare = 5 * time.Microsecond
	// budget is how far a queue may go beyond that.
	budget = 25 * time.Millisecond
	// leastCheap is how many rings in a row that were not dear make a queue
	// trusted again, the first time.
	leastCheap = 16
	mostCheap  = 1 << 20
)

// dear is how long ringing n doorbells never takes by itself.
func dear(n int) time.Duration { return 20*time.Microsecond + time.Duration(n)*4*time.Microsecond }

// trial is what is known of how dear a queue's doorbells are. It is the queue's,
// for a client that comes back is not to be trusted anew.
type trial struct {
	verdict atomic.Uint32 // trusted, doubted, single, outcast

	mu    sync.Mutex
	spent time.Duration // beyond the fair share
	cheap int           // rings in a row that were not dear
	need  int           // how many of those make it trusted
}

// doubt is for who was part of a call that took long.
func (t *trial) doubt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.verdict.Load() == trusted {
		t.raise(doubted)
	}
}

// judge draws the conclusion from a call for so many doorbells, of which one was
// this queue's, and which took so much of our thread's time.
func (t *trial) judge(took time.Duration, bells int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if bells == 1 {
		t.spent = max(0, t.spent+took-fairShare)
	}
	verdict := t.verdict.Load()
	switch {
	case verdict == outcast || verdict == trusted: // another worker was faster
	case t.spent > budget:
		t.verdict.Store(outcast)
	case took > dear(bells) && verdict == doubted:
		t.raise(single)
	case took > dear(bells):
		t.cheap = 0
	default:
		if t.cheap++; t.cheap >= t.need && t.spent == 0 {
			t.verdict.Store(trusted)
		}
	}
}

// raise makes the verdict worse. Each time it takes longer until it is trusted
// again, so that who is dear only now and then is so less and less often.
func (t *trial) raise(verdict uint32) {
	t.cheap, t.need = 0, min(max(2*t.need, leastCheap), mostCheap)
	t.verdict.Store(verdict)
}
