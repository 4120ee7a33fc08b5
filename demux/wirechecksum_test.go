package demux

import (
	"bytes"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// unfinished makes an untagged datagram, whose transport header stands at start,
// one whose checksum is left to the device.
func unfinished(whole []byte, start int) []byte {
	f := append([]byte(nil), whole...)
	partial(f, start, 6, uint8(layers.IPProtocolUDP))
	return f
}

// setWire says what the switch is to think of the wire's checksums.
func (r *rig) setWire(c WireChecksum) {
	r.t.Helper()
	r.ok(r.sw.SetHost(HostConfig{NICMAC: nicMAC, HostMAC: hostMAC, GatewayMAC: gateMAC, Lanes: r.host.cfg.Lanes, WireChecksum: c}))
}

// TestWireChecksum: what an unfinished frame from the wire becomes, by what the
// wire is said to be and by what the lane can do.
func TestWireChecksum(t *testing.T) {
	n4, v6 := ip("10.0.0.13"), ip("2001:db8::13")
	payload := bytes.Repeat([]byte{7}, 40)
	whole4, whole6 := udpBytes(peerMAC, nicMAC, far4, n4, payload), udpBytes(peerMAC, nicMAC, far6, v6, payload)
	wholeS := udpBytes(peerMAC, nicMAC, far4, ip("10.0.0.10"), payload)
	for name, c := range map[string]struct {
		wire  WireChecksum
		send  []byte
		to    string
		want  []byte
		flags uint8
	}{
		"completed":                    {WireComplete, unfinished(whole4, 34), "N", whole4, 0},
		"completed, IPv6":              {WireComplete, unfinished(whole6, 54), "N6", whole6, 0},
		"completed, VLAN":              {WireComplete, tag(unfinished(whole4, 34), 7), "VN", whole4, 0},
		"finished before":              {WireComplete, whole4, "N", whole4, 0},
		"trusted":                      {WireTrust, unfinished(whole4, 34), "N", unfinished(whole4, 34), 0},
		"left to who completes itself": {WireComplete, unfinished(wholeS, 34), "S", unfinished(wholeS, 34), frame.NeedsChecksum},
		"finished, to who completes":   {WireComplete, wholeS, "S", wholeS, 0},
		"trusted, to who completes":    {WireTrust, unfinished(wholeS, 34), "S", unfinished(wholeS, 34), 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := gsoWorld(t)
			w.ports["N6"] = w.port(PortConfig{Name: "N6"}, "2001:db8::13")
			w.ports["VN"] = w.port(PortConfig{Name: "VN", VLAN: 7}, "10.0.0.13")
			w.setWire(c.wire)
			w.links[0].Arrive(c.send)
			w.settle()
			got := w.ports[c.to].lanes[0].Got()
			if len(got) != 1 || !bytes.Equal(got[0].Data, c.want) || got[0].Flags != c.flags {
				t.Fatalf("got %+v, want %x with flags %d", got, c.want, c.flags)
			}
			if c.flags != 0 && (got[0].CsumStart != 34 || got[0].CsumOffset != 6) {
				t.Errorf("marked as %+v", got[0].Meta)
			}
		})
	}
}

// TestLocalChecksums: what a container or the host leaves unfinished is completed
// for a lane that does not do it itself, whatever the wire is.
func TestLocalChecksums(t *testing.T) {
	for _, from := range []string{"S", "host"} {
		w := gsoWorld(t)
		src, smac := ip("10.0.0.10"), nicMAC
		if from == "host" {
			src, smac = ip("10.0.0.1"), hostMAC
		}
		whole := udpBytes(smac, nicMAC, src, ip("10.0.0.13"), []byte("a payload of some bytes"))
		w.ports[from].lanes[0].SendFrame(needsSum(whole))
		w.settle()
		got := w.ports["N"].lanes[0].Got()
		if len(got) != 1 || got[0].Flags != 0 || !bytes.Equal(got[0].Data, whole) {
			t.Errorf("from %s: got %+v", from, got)
		}
	}
}
