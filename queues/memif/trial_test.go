package memif

import (
	"math/rand/v2"
	"testing"
	"time"
)

const (
	cheapRing = time.Microsecond
	dearRing  = 200 * time.Microsecond
)

// ring has one doorbell rung for which the kernel takes so long, as Server.ring
// does.
func (t *trial) ring(took time.Duration) {
	switch t.verdict.Load() {
	case outcast:
	case trusted:
		if took > dear(1) {
			t.doubt()
		}
	default:
		t.judge(took, 1)
	}
}

func (t *trial) wants(tb testing.TB, verdict uint32) {
	tb.Helper()
	if got := t.verdict.Load(); got != verdict {
		tb.Fatalf("the verdict is %d, want %d; spent %v, %d of %d cheap", got, verdict, t.spent, t.cheap, t.need)
	}
}

func TestTrialEnds(t *testing.T) {
	var x trial
	x.ring(cheapRing)
	x.wants(t, trusted)
	x.ring(dearRing)
	for range leastCheap {
		x.wants(t, doubted)
		x.ring(cheapRing)
	}
	x.wants(t, trusted)
	x.ring(dearRing)
	x.ring(dearRing)
	x.wants(t, single)
	for range int(budget / (dearRing - fairShare)) {
		x.ring(dearRing)
	}
	x.wants(t, outcast)
	x.ring(cheapRing)
	x.wants(t, outcast)
}

// Who is dear only together with others is not found guilty for it.
func TestTrialOfBystander(t *testing.T) {
	var x trial
	x.doubt()
	x.judge(time.Second, 2)
	x.wants(t, single)
	for range 2 * leastCheap {
		x.wants(t, single)
		x.ring(cheapRing)
	}
	x.wants(t, trusted)
	x.doubt()
	for range 4 * leastCheap {
		x.wants(t, doubted)
		x.judge(dear(64), 64)
	}
	x.wants(t, trusted)
}

// One ring that takes outrageously long is enough, once it was by itself.
func TestTrialIsShortForTheWorst(t *testing.T) {
	var x trial
	for range 2 {
		x.ring(100 * time.Millisecond)
	}
	x.wants(t, outcast)
}

// Whatever mixture of dear and cheap rings a client chooses, and however often it
// comes back: it is cast out, or takes no more than its share on average, but for a
// number of rings that grows with the logarithm of all.
func TestTrialCannotBeEvaded(t *testing.T) {
	dice := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for range 200 {
		var x trial
		var taken time.Duration
		share, extent := dice.Float64(), time.Duration(1+dice.IntN(5000))*time.Microsecond
		rings := 0
		for ; rings < 200_000 && x.verdict.Load() != outcast; rings++ {
			took := cheapRing
			if dice.Float64() < share*share {
				took = extent
			}
			x.ring(took)
			taken += took
		}
		const unjudged = 17 + 2 // one for each doubling of need
		if limit := time.Duration(rings)*dear(1) + budget + unjudged*extent; taken > limit {
			t.Errorf("%d rings, %.0f%% of %v, took %v; more than %v", rings, share*share*100, extent, taken, limit)
		}
	}
}

// A processor that interrupts keep busy does not make honest clients outcasts.
func TestTrialOfTheInterrupted(t *testing.T) {
	dice := rand.New(rand.NewPCG(rand.Uint64(), 0))
	var x trial
	for range 1_000_000 {
		took := cheapRing
		if dice.IntN(50) == 0 {
			took += time.Duration(dice.IntN(200)) * time.Microsecond
		}
		x.ring(took)
	}
	if x.verdict.Load() == outcast {
		t.Errorf("cast out; spent %v", x.spent)
	}
}
