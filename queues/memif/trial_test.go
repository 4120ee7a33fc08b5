package memif

import (
	"math/bits"
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
func (t *trial) ring(took time.Duration) { t.ringAt(time.Unix(0, 0), took, 1) }

// ringAt is the same at some time, in a call for so many.
func (t *trial) ringAt(now time.Time, took time.Duration, bells int) {
	switch t.verdict.Load() {
	case outcast:
	case trusted:
		if took > dear(bells) {
			t.doubt(took, now)
		}
	case single:
		t.judge(took, 1, now)
	default:
		t.judge(took, bells, now)
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
	var now time.Time
	x.ringAt(now, time.Second, 2)
	x.ringAt(now, time.Second, 2)
	for range leastRings {
		x.wants(t, single)
		x.ring(cheapRing)
	}
	x.wants(t, trusted)
	x.ringAt(now, time.Second, 64)
	for range 2 * leastRings {
		x.wants(t, doubted)
		x.ringAt(now, dear(64), 64)
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
// that has been a while ago, the longer ago the dearer it was.
func TestTrialForgives(t *testing.T) {
	var x trial
	now := time.Unix(1000, 0)
	again := func(after time.Duration, want int) {
		t.Helper()
		now = now.Add(after)
		x.ringAt(now, dearRing, 1)
		x.wants(t, doubted)
		rings := 0
		for ; x.verdict.Load() != trusted; rings++ {
			x.ringAt(now, cheapRing, 1)
		}
		if rings != want {
			t.Errorf("trusted again after %d rings, want %d", rings, want)
		}
	}
	again(0, leastRings)
	again(0, 2*leastRings)
	again(0, 4*leastRings)
	again(grudge*dearRing, 8*leastRings)
	again(grudge*dearRing+2*forgiveness, 4*leastRings)
	again(time.Hour, leastRings)
}

// Over months, who is dear once whenever it is forgiven takes next to nothing,
// alone and among others.
func TestTrialForgivesNoHabit(t *testing.T) {
	for _, bells := range []int{1, 2, 64} {
		for _, extent := range []time.Duration{time.Millisecond, 50 * time.Millisecond, 5 * time.Second} {
			taken, of := habit(extent, bells)
			if limit := of/250 + 20*extent; taken > limit {
				t.Errorf("%d bells of %v: took %v of %v", bells, extent, taken, of)
			}
		}
	}
}

// habit is of a client that is dear three times whenever all is forgiven.
func habit(extent time.Duration, bells int) (taken, of time.Duration) {
	var x trial
	begin := time.Unix(0, 0)
	now := begin
	for range 2000 {
		for range 3 {
			x.ringAt(now, extent, bells)
			taken += extent
			for x.verdict.Load() != trusted {
				if x.verdict.Load() == outcast {
					return taken, now.Sub(begin)
				}
				x.ringAt(now, cheapRing, bells)
			}
		}
		term := &x.terms[doubted]
		now = term.from.Add(time.Duration(bits.Len(uint(term.need))) * forgiveness)
	}
	return taken, now.Sub(begin)
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
