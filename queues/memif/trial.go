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
// once such calls were dear time and again, their queues are rung one by one, and
// each is charged for its own. Interrupts are charged as well, but not on average.
// A queue that has spent too much gets a ringer, which no worker waits for.
const (
	trusted uint32 = iota
	doubted
	single
	outcast
)

const (
	// fairShare is what a doorbell may take of a worker's time, on average. Most
	// take 2-5 µs, with the wake-up of who sleeps; on a virtual processor, to
	// which each interrupt is an exit, 7 on average.
	fairShare = 20 * time.Microsecond
	// strain is how far the calls for a doubted queue may go beyond dear.
	strain = time.Millisecond
	// budget is how far a single queue may go beyond its share.
	budget = 25 * time.Millisecond
	// leastRings is how many rings make a queue trusted again, the first time.
	leastRings = 16
	mostRings  = 1 << 20
	// forgiveness is how long it takes until half as many do, and grudge how many
	// times longer than what was dear it takes until that begins: so what is forgiven
	// and done again is a thousandth of a worker's time.
	forgiveness = 10 * time.Second
	grudge      = 1000
)

// dear is how long ringing n doorbells never takes by itself.
func dear(n int) time.Duration { return 20*time.Microsecond + time.Duration(n)*4*time.Microsecond }

// trial is what is known of how dear a queue's doorbells are. It is the queue's,
// for a client that comes back is not to be trusted anew.
type trial struct {
	verdict atomic.Uint32 // trusted, doubted, single, outcast

	mu    sync.Mutex
	spent time.Duration     // beyond what is dear, while doubted; beyond the fair share, while single
	rings int               // since the verdict became worse
	terms [outcast]sentence // for the verdicts that end
}

// sentence is how long a verdict lasts.
type sentence struct {
	need int       // so many rings
	from time.Time // until when nothing is forgiven
}

// doubt is for who was part of a call that took so long.
func (t *trial) doubt(took time.Duration, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.verdict.Load() == trusted {
		t.raise(doubted, took, now)
	}
}

// judge draws the conclusion from a call for so many doorbells, of which one was
// this queue's, and which took so much of our thread's time.
func (t *trial) judge(took time.Duration, bells int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rings++
	verdict := t.verdict.Load()
	switch verdict {
	case doubted:
		t.spent = max(0, t.spent+took-dear(bells))
		if t.spent > strain {
			t.raise(single, t.spent, now)
			t.charge(took, bells)
			return
		}
	case single:
		t.charge(took, bells)
	default: // another worker was faster
		return
	}
	if t.rings >= t.terms[verdict].need && t.spent == 0 {
		t.verdict.Store(trusted)
	}
}

// charge is for a queue that is rung by itself.
func (t *trial) charge(took time.Duration, bells int) {
	if bells > 1 {
		return
	}
	if t.spent = max(0, t.spent+took-fairShare); t.spent > budget {
		t.verdict.Store(outcast)
	}
}

// raise makes the verdict worse, for so much time.
func (t *trial) raise(verdict uint32, cost time.Duration, now time.Time) {
	t.terms[verdict].lengthen(cost, now)
	t.spent, t.rings = 0, 0
	t.verdict.Store(verdict)
}

// lengthen doubles the sentence, so that who is dear only now and then is so less
// and less often; but who was quiet for long is forgiven.
func (s *sentence) lengthen(cost time.Duration, now time.Time) {
	if quiet := now.Sub(s.from); quiet > 0 {
		s.need >>= min(quiet/forgiveness, 32)
	}
	s.need = min(max(2*s.need, leastRings), mostRings)
	if from := now.Add(grudge * cost); from.After(s.from) {
		s.from = from
	}
}
