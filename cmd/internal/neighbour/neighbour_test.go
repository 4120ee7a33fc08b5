package neighbour

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	us     = Identity{MAC: MAC{2, 0, 0, 0, 0, 5}, IP: netip.MustParseAddr("10.0.0.5")}
	us6    = Identity{MAC: MAC{2, 0, 0, 0, 0, 5}, IP: netip.MustParseAddr("fd00::5")}
	hop4   = Hop{IP: netip.MustParseAddr("10.0.0.1")}
	hopMAC = MAC{2, 0, 0, 0, 0, 1}
	start  = time.Unix(1000, 0)
)

func TestAnnouncementsAreSeenAsWhatTheySay(t *testing.T) {
	for _, id := range []Identity{us, us6} {
		frame, err := Announcement(id)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := Look(frame)
		if !ok || s.IP != id.IP || s.MAC != id.MAC || !s.Unasked {
			t.Errorf("%v: seen as %+v, %v", id.IP, s, ok)
		}
		if frame[0]&1 == 0 {
			t.Errorf("%v: announced to one machine only", id.IP)
		}
	}
}

func TestMessagesAreWellFormed(t *testing.T) {
	for _, id := range []Identity{us, us6, {VLAN: 7, MAC: us.MAC, IP: us.IP}, {VLAN: 7, MAC: us6.MAC, IP: us6.IP}} {
		target := hop4.IP
		if id.IP.Is6() {
			target = netip.MustParseAddr("fd00::1")
		}
		for name, build := range map[string]func() ([]byte, error){
			"announcement": func() ([]byte, error) { return Announcement(id) },
			"to all":       func() ([]byte, error) { return Question(id, target, MAC{}) },
			"to one":       func() ([]byte, error) { return Question(id, target, hopMAC) },
		} {
			frame, err := build()
			if err != nil {
				t.Fatal(err)
			}
			checkFrame(t, name, id, frame)
		}
	}
}

func checkFrame(t *testing.T, name string, id Identity, frame []byte) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if bad := p.ErrorLayer(); bad != nil {
		t.Errorf("%s of %v: %v", name, id, bad.Error())
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if !bytes.Equal(eth.SrcMAC, id.MAC[:]) {
		t.Errorf("%s of %v: from %v", name, id, eth.SrcMAC)
	}
	if q, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok != (id.VLAN != 0) || ok && q.VLANIdentifier != id.VLAN {
		t.Errorf("%s of %v: tag %v", name, id, q)
	}
	if name == "to one" && MAC(eth.DstMAC) != hopMAC {
		t.Errorf("question to one machine goes to %v", eth.DstMAC)
	}
}

func TestSolicitedNodeGroup(t *testing.T) {
	group, mac := solicitedNode(netip.MustParseAddr("fd00::1234:5678"))
	if group != netip.MustParseAddr("ff02::1:ff34:5678") || mac != (MAC{0x33, 0x33, 0xff, 0x34, 0x56, 0x78}) {
		t.Errorf("got %v, %x", group, mac)
	}
}

func TestLookRefuses(t *testing.T) {
	arp, _ := Announcement(us)
	na, _ := Announcement(us6)
	change := func(frame []byte, at int, to ...byte) []byte {
		c := slices.Clone(frame)
		copy(c[at:], to)
		return c
	}
	for name, frame := range map[string][]byte{
		"nothing":         nil,
		"short ARP":       arp[:41],
		"short NA":        na[:14+40+23],
		"ARP of a ring":   change(arp, 14, 0, 6),
		"group as sender": change(arp, 22, 0x33),
		"probe":           change(arp, 28, 0, 0, 0, 0),
		"hop limit":       change(na, 21, 64),
		"solicitation":    change(na, 54, 135),
		"multicast":       change(na, 62, 0xff),
	} {
		if s, ok := Look(frame); ok {
			t.Errorf("%s: seen as %+v", name, s)
		}
	}
}

func FuzzLook(f *testing.F) {
	for _, id := range []Identity{us, us6} {
		frame, err := Announcement(id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if s, ok := Look(frame); ok && (s.MAC[0]&1 != 0 || s.IP.IsMulticast() || !s.IP.IsValid()) {
			t.Errorf("implausible %+v", s)
		}
	})
}

type wire struct {
	sent  [][]byte
	fails bool
	moves []MAC
}

func (w *wire) send(frame []byte) error {
	w.sent = append(w.sent, frame)
	if w.fails {
		return errors.New("down")
	}
	return nil
}

func (w *wire) last() (to MAC) { return MAC(w.sent[len(w.sent)-1][:6]) }

func newResolver() (*Resolver, *wire) {
	w := new(wire)
	return NewResolver(w.send, func(_ Hop, m MAC) { w.moves = append(w.moves, m) }), w
}

func TestHopIsAskedForAtOnceAndThenLessOften(t *testing.T) {
	r, w := newResolver()
	r.Use(hop4, "a", us, start)
	if len(w.sent) != 1 || w.last() != broadcast {
		t.Fatalf("%d questions, to %x", len(w.sent), w.last())
	}
	for s := range 60 {
		r.Tick(start.Add(time.Duration(s) * time.Second))
	}
	if n := len(w.sent); n < 8 || n > 14 {
		t.Errorf("a silent hop was asked for %d times in a minute", n)
	}
}

func TestSecondUserAsksNothing(t *testing.T) {
	r, w := newResolver()
	r.Use(hop4, "a", us, start)
	r.Saw(hop4, hopMAC, start)
	if mac := r.Use(hop4, "b", us, start); mac != hopMAC || len(w.sent) != 1 {
		t.Errorf("MAC %x, %d questions", mac, len(w.sent))
	}
	if users := r.Users(hop4); len(users) != 2 {
		t.Errorf("users %v", users)
	}
}

func TestChangeIsToldOnce(t *testing.T) {
	r, w := newResolver()
	r.Use(hop4, "a", us, start)
	for _, mac := range []MAC{hopMAC, hopMAC, {2, 0, 0, 0, 0, 9}} {
		r.Saw(hop4, mac, start)
	}
	if len(w.moves) != 2 {
		t.Errorf("told of %d moves, want 2", len(w.moves))
	}
	r.Leave(hop4, "a")
	r.Saw(hop4, hopMAC, start)
	if len(w.moves) != 2 || r.Users(hop4) != nil {
		t.Errorf("a hop without users was followed")
	}
}

func TestKnownHopIsAskedItselfThenEverybody(t *testing.T) {
	r, w := newResolver()
	r.Use(hop4, "a", us, start)
	r.Saw(hop4, hopMAC, start)
	now := start.Add(refresh)
	for i := range attempts + 1 {
		r.Tick(now.Add(time.Duration(i) * retry))
		want := hopMAC
		if i == attempts {
			want = broadcast
		}
		if w.last() != want {
			t.Fatalf("question %d goes to %x, want %x", i, w.last(), want)
		}
	}
}

func TestForgetAsksEverybody(t *testing.T) {
	r, w := newResolver()
	r.Use(hop4, "a", us, start)
	r.Saw(hop4, hopMAC, start)
	w.fails = true
	r.Forget(start.Add(time.Second))
	if len(w.sent) != 2 || w.last() != broadcast {
		t.Errorf("%d questions, to %x", len(w.sent), w.last())
	}
}
