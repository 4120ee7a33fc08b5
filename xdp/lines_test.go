package xdp

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// fewLines are n of them in plain memory.
func fewLines(n int) lines { return lines{words: make([]uint64, n*lineWords), shift: lineShift(n)} }

func TestLineCount(t *testing.T) {
	for addresses, want := range map[int]int{1: 2, 4: 2, 8: 2, 9: 4, 16: 4, 17: 8, 32768: 8192, 32769: 16384, 2 * maxEntries: 1 << 23} {
		if got := lineCount(addresses); got != want {
			t.Errorf("%d addresses: %d lines, want %d", addresses, got, want)
		}
	}
}

// TestLinesLikeAMap changes few lines at random beside a map. Only a full line
// may refuse, and a change touches no word but its own: the program may be
// reading any other.
func TestLinesLikeAMap(t *testing.T) {
	for _, n := range []int{2, 8, 64} {
		l, model := fewLines(n), make(map[uint64]uint32)
		rnd := rand.New(rand.NewPCG(1, uint64(n)))
		for step := range 20_000 {
			key := rnd.Uint64N(uint64(16*n)) | wordIP4*rnd.Uint64N(2) | rnd.Uint64N(2)<<wordVLAN
			before := slices.Clone(l.words)
			changed := 1
			owner := uint32(rnd.IntN(3)) // 0: take it away
			_, stands := model[key]
			switch {
			case owner == 0:
				l.remove(key)
				delete(model, key)
			case l.put(key, owner):
				model[key] = owner
			case stands || slices.Contains(l.line(key), 0):
				t.Fatalf("%d lines, step %d: %#x was refused, its line is %#x", n, step, key, l.line(key))
			default:
				changed = 0
			}
			for i := range before {
				if before[i] != l.words[i] {
					changed--
				}
			}
			if changed < 0 {
				t.Fatalf("%d lines, step %d: more than one word changed", n, step)
			}
			if got := wordsHeld(t, &l); !maps.Equal(got, model) {
				t.Fatalf("%d lines, step %d: they hold %v, want %v", n, step, got, model)
			}
		}
	}
}

// wordsHeld is what the lines say, each word of which must be where its key is
// looked for.
func wordsHeld(t *testing.T, l *lines) map[uint64]uint32 {
	t.Helper()
	held := make(map[uint64]uint32)
	for i := range l.words {
		w := l.words[i]
		if w == 0 {
			continue
		}
		if l.find(w&wordKey) != &l.words[i] {
			t.Fatalf("word %d, %#x, is not where it is looked for", i, w)
		}
		held[w&wordKey] = uint32(w >> wordOwner)
	}
	return held
}

// TestFewAreCrowdedOut fills lines with as many addresses as they are made for, and
// with a quarter of them: alone, side by side, and in small subnets here and there.
func TestFewAreCrowdedOut(t *testing.T) {
	const addresses = 32768
	for name, c := range map[string]struct {
		key  func(i int) uint64
		most int // percent, of all
	}{
		"contiguous":    {func(i int) uint64 { return wordIP4 | 0x0a000000 + uint64(i) }, 1},
		"every 256th":   {func(i int) uint64 { return wordIP4 | 0x0a000001 + uint64(i)<<8 }, 1},
		"at random":     {func(i int) uint64 { return wordIP4 | random(i)>>32 }, 1},
		"subnets":       {func(i int) uint64 { return wordIP4 | random(i/32)>>32&^31 | uint64(i%32) }, 6},
		"MACs":          {func(i int) uint64 { return 0x020000000000 + uint64(i) }, 1},
		"MACs, foreign": {func(i int) uint64 { return random(i) >> 16 }, 1},
		"VLANs":         {func(i int) uint64 { return wordIP4 | 0x0a000001 | uint64(i%4094)<<wordVLAN + uint64(i/4094)<<8 }, 1},
	} {
		l, out, early := fewLines(lineCount(addresses)), 0, 0
		for i := range addresses {
			if !l.put(c.key(i), ownerIP) {
				out++
			}
			if i == addresses/4 {
				early = out
			}
		}
		if 100*out > c.most*addresses || early > addresses/4/1000 {
			t.Errorf("%s: %d are crowded out, and %d of the first quarter", name, out, early)
		}
	}
}

// random is the i-th of a fixed sequence.
func random(i int) uint64 { return rand.New(rand.NewPCG(1, uint64(i))).Uint64() }

func TestRuleWords(t *testing.T) {
	seen := make(map[uint64]Rule)
	rules := append(steerRules(), macRule(0, mac{0, 0, 10, 0, 0, 2}), macRule(5, ownMAC), exactRule(RuleIPIdentity, maxVLAN, "255.255.255.255"))
	for _, r := range rules {
		if !r.key().table().inLines() {
			continue
		}
		w := r.key().word()
		if other, double := seen[w]; double || w&^wordKey != 0 || w == 0 {
			t.Errorf("%+v: word %#x, that of %+v", r, w, other)
		}
		seen[w] = r
	}
	if len(seen) < 8 {
		t.Errorf("only %d rules were looked at", len(seen))
	}
}
