package packet

import (
	"testing"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// TestNoAllocs holds every function that a worker calls to its first promise.
func TestNoAllocs(t *testing.T) {
	var h Header
	var s Segmenter
	room := make([]byte, 2048)
	seeds := seedFrames(t)
	super, gsoMeta := tcp4(t, 60000), gso(frame.GSOTCPv4, 1448)
	unfinished, part := partial(t, tcp4(t, 1400))
	big4, big6 := udp4(t, 1472), udp6(t, 1452)
	var ask, h4, h6, arp Header
	if !Parse(solicitFrame().build(), &ask) || !Parse(big4, &h4) || !Parse(big6, &h6) || !Parse(arpFrame(t, 1, ip4A, ip4B), &arp) {
		t.Fatal("malformed")
	}
	for name, f := range map[string]func(){
		"Parse": func() {
			for _, data := range seeds {
				Parse(data, &h)
			}
		},
		"ParseFast": func() {
			for _, data := range seeds {
				ParseFast(data, &h)
			}
		},
		"VerifyTransport":    func() { VerifyTransport(big4, &h4) },
		"Sum":                func() { Fold(Sum(super, 0)) },
		"PartialChecksum":    func() { PartialChecksum(unfinished, &part) },
		"CompleteChecksum":   func() { m := part; CompleteChecksum(unfinished, &m) },
		"Segmenter":          func() { s.Init(super, &gsoMeta); s.At(room, s.Count()-1) },
		"SegmentCount":       func() { SegmentCount(super, &gsoMeta) },
		"SegmentAt":          func() { SegmentAt(room, super, &gsoMeta, 1) },
		"BuildARPReply":      func() { BuildARPReply(room, &arp, macNIC, 1) },
		"BuildGratuitousARP": func() { BuildGratuitousARP(room, macNIC, ip4A) },
		"BuildNA":            func() { BuildNA(room, &ask, macNIC, false) },
		"BuildUnsolicitedNA": func() { BuildUnsolicitedNA(room, macNIC, ip6A) },
		"BuildFragNeeded":    func() { BuildFragNeeded(room, big4, &h4, macNIC, 1400) },
		"BuildPacketTooBig":  func() { BuildPacketTooBig(room, big6, &h6, macNIC, 1400) },
		"tags":               func() { PushTag(room, 4, 5); StripTag(room) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
