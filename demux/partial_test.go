package demux

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestPartialChecksumOffsetsAreJudged: where the destination completes the
// checksum itself, offsets that lead into what the source check has looked at
// are refused, and honest ones pass unfinished.
func TestPartialChecksumOffsetsAreJudged(t *testing.T) {
	for name, c := range map[string]struct {
		start, offset uint16
		passes        bool
	}{
		"UDP":              {34, 6, true},
		"the IP source":    {14, 12, false},
		"before the frame": {0, 6, false},
		"behind it":        {34, 0xfff0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := gsoWorld(t)
			f := needsSum(udp(nicMAC, nicMAC, a4, ip("10.0.0.11"), 1))
			f.CsumStart, f.CsumOffset = c.start, c.offset
			w.ports["S"].lanes[0].SendFrame(f)
			w.settle()
			got := w.ports["T"].lanes[0].Got()
			if passed := len(got) == 1 && got[0].Flags&frame.NeedsChecksum != 0; passed != c.passes {
				t.Errorf("got %+v", got)
			}
			if dropped := w.sw.Stats().Ports.Drops[Malformed] == 1; dropped == c.passes {
				t.Errorf("counted %+v", w.sw.Stats().Ports)
			}
		})
	}
}

// TestHeaderLengthIsMeasured: a super-frame that is passed whole says how long
// its headers are, whatever the sender said.
func TestHeaderLengthIsMeasured(t *testing.T) {
	w := gsoWorld(t)
	f := super(tcp(nicMAC, nicMAC, a4, ip("10.0.0.11"), 10_000), false, 1400)
	f.HdrLen = 60_000
	w.ports["S"].lanes[0].SendFrame(f)
	w.settle()
	if got := w.ports["T"].lanes[0].Got(); len(got) != 1 || got[0].HdrLen != 54 {
		t.Errorf("got %+v", got)
	}
}
