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
		tb.Fatalf("the verdict is %d, want %d; spent %v, %d rings of %v", got, verdict, t.spent, t.rings, t.terms)
	}
}

func TestTrialEnds(t *testing.T) {
	var x trial
	x.ring(cheapRing)
	x.wants(t, trusted)
	x.ring(dearRing)
	for range leastRings {
		x.wants(t, doubted)
		x.ring(cheapRing)
	}
	x.wants(t, trusted)
	x.ring(dearRing)
	for range int(strain/(dearRing-dear(1))) + 1 {
		x.wants(t, doubted)
		x.ring(dearRing)
	}
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
	for range leastRings {
		x.wants(t, single)
		x.ring(cheapRing)
	}
	x.wants(t, trusted)
	x.doubt()
	for range 2 * leastRings {
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

// It takes longer each time until a queue is trusted again, and less long when
// that has been a while ago.
func TestTrialForgives(t *testing.T) {
	var x trial
	for range 4 {
		x.doubt()
		for x.verdict.Load() != trusted {
			x.ring(cheapRing)
		}
	}
	term := &x.terms[doubted]
	if term.need != 8*leastRings {
		t.Errorf("it took %d rings the fourth time, want %d", term.need, 8*leastRings)
	}
	term.at = term.at.Add(-2 * forgiveness)
	if x.doubt(); term.need != 4*leastRings {
		t.Errorf("it takes %d rings after a while, want %d", term.need, 4*leastRings)
	}
	x.verdict.Store(trusted)
	term.at = time.Time{}
	if x.doubt(); term.need != leastRings {
		t.Errorf("it takes %d rings after an age, want %d", term.need, leastRings)
	}
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
		const unjudged = 17 + 2 // once, and strained once, for each doubling of need
		if limit := time.Duration(rings)*dear(1) + budget + unjudged*(2*extent+strain); taken > limit {
			t.Errorf("%d rings, %.0f%% of %v, took %v; more than %v", rings, share*share*100, extent, taken, limit)
		}
	}
}

// A virtual processor, whose interrupts are dear and charged to whoever runs, makes
// no honest client an outcast, nor has it rung alone for long.
func TestTrialOfTheInterrupted(t *testing.T) {
	dice := rand.New(rand.NewPCG(rand.Uint64(), 0))
	var x trial
	alone := 0
	const rings = 1_000_000
	for i := range rings {
		took := 5 * time.Microsecond
		if dice.IntN(14) == 0 {
			took = time.Duration(20+dice.IntN(30)) * time.Microsecond
		}
		if i%100_000 == 99_999 { // the machine stands still
			took = 8 * time.Millisecond
		}
		if x.ring(took); x.verdict.Load() == single {
			alone++
		}
	}
	if x.verdict.Load() == outcast || alone > rings/10 {
		t.Errorf("verdict %d, spent %v, alone %d times of %d", x.verdict.Load(), x.spent, alone, rings)
	}
}
