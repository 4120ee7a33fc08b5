package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// Messages as they were seen on a socket between two DPDK processes, and one
// of each other type by the offsets of the headers. What is not written is 0.
var messages = []struct {
	bytes string
	m     wire.Message
	lossy bool // the bytes hold more than the message
}{
	{"0100", wire.Ack{}, false},
	{"0200 4450444b2032322e31312e3131 00000000000000000000000000000000000000 0002 0002 ff00 ff00 fe00 0e",
		wire.Hello{Name: "DPDK 22.11.11", MinVersion: 0x0200, MaxVersion: 0x0200,
			MaxRegion: 255, MaxS2CRing: 255, MaxC2SRing: 254, MaxLog2Ring: 14}, false},
	{"0300 0002 07000000 00 733363726574", wire.Init{Version: 0x0200, ID: 7, Secret: "s3cret"}, false},
	{"0300 0102 04030201 01 " + strings.Repeat("78", 24) + "6e",
		wire.Init{Version: 0x0201, ID: 0x01020304, Mode: wire.ModeIP, Secret: strings.Repeat("x", 24), Name: "n"}, true},
	{"0400 0000 0081400000000000", wire.AddRegion{Size: 4227328}, false},
	{"0400 0100 0807060504030201", wire.AddRegion{Index: 1, Size: 0x0102030405060708}, false},
	{"0500 0100 0000 0000 00000000 0a 0000", wire.AddRing{C2S: true, Log2: 10}, false},
	{"0500 0100 0300 0400 00000080 0e 0700", wire.AddRing{C2S: true, Index: 3, Region: 4,
		Offset: 1 << 31, Log2: 14, PrivateHeader: 7}, false},
	{"0500 0000 0000 0000 80400000 0a 0000", wire.AddRing{Offset: 16512, Log2: 10}, false},
	{"0500 ff00 0203 0405 06070809 0e 0201", wire.AddRing{C2S: true, Index: 0x0302, Region: 0x0504,
		Offset: 0x09080706, Log2: 14, PrivateHeader: 0x0102}, true},
	{"0600 6d656d69663000", wire.Connect{Interface: "memif0"}, false},
	{"0700 78006162", wire.Connected{Interface: "x"}, true}, // behind the NUL stands nothing
	{"0800 04030201 476f6e65", wire.Disconnect{Code: 0x01020304, Reason: "Gone"}, false},
}

func raw(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return append(b, make([]byte, wire.Size-len(b))...)
}

func TestDecode(t *testing.T) {
	for _, c := range messages {
		m, err := wire.Decode(raw(t, c.bytes))
		if err != nil || m != c.m {
			t.Errorf("%s: %+v, %v, want %+v", c.bytes, m, err, c.m)
		}
	}
}

func TestEncode(t *testing.T) {
	for _, c := range messages {
		if got, want := encode(c.m), raw(t, c.bytes); !c.lossy && !bytes.Equal(got, want) {
			t.Errorf("%+v is\n%x, want\n%x", c.m, got, want)
		}
	}
}

func encode(m wire.Message) []byte {
	b := wire.Encode(m)
	return b[:]
}

// Text that is too long is cut so that a NUL still stands behind it.
func TestEncodeCuts(t *testing.T) {
	long := strings.Repeat("abcdefghij", 20)
	for _, c := range []struct{ in, out wire.Message }{
		{wire.Hello{Name: long}, wire.Hello{Name: long[:wire.MaxName]}},
		{wire.Init{Secret: long, Name: long}, wire.Init{Secret: long[:wire.MaxSecret], Name: long[:wire.MaxName]}},
		{wire.Connect{Interface: long}, wire.Connect{Interface: long[:wire.MaxName]}},
		{wire.Connected{Interface: long}, wire.Connected{Interface: long[:wire.MaxName]}},
		{wire.Disconnect{Reason: long}, wire.Disconnect{Reason: long[:wire.MaxReason]}},
	} {
		if got, err := wire.Decode(encode(c.in)); err != nil || got != c.out {
			t.Errorf("%T: %+v, %v, want %+v", c.in, got, err, c.out)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, n := range []int{0, 1, 127, 129, 4096} {
		if m, err := wire.Decode(make([]byte, n)); !errors.Is(err, wire.ErrSize) {
			t.Errorf("%d bytes: %v, %v", n, m, err)
		}
	}
	for _, typ := range []string{"0000", "0900", "0001", "ffff"} {
		if m, err := wire.Decode(raw(t, typ)); !errors.Is(err, wire.ErrType) {
			t.Errorf("type %s: %v, %v", typ, m, err)
		}
	}
}

// What a peer calls itself is shown to people; it must not move their cursor.
func TestTextIsPrintable(t *testing.T) {
	b := raw(t, "0600 1b5b324a c3a4 7f 20 7e 0a")
	m, err := wire.Decode(b)
	if want := (wire.Connect{Interface: "?[2J?? ~?"}); err != nil || m != want {
		t.Errorf("%+v, %v, want %+v", m, err, want)
	}
}

func TestTypeNames(t *testing.T) {
	for typ, want := range map[wire.Type]string{0: "NONE", wire.TypeAck: "ACK",
		wire.TypeDisconnect: "DISCONNECT", wire.TypeAddRing: "ADD_RING", 9: "unknown", 65535: "unknown"} {
		if got := typ.String(); got != want {
			t.Errorf("type %d is %q, want %q", uint16(typ), got, want)
		}
	}
}

// FuzzControl: whatever 128 bytes say, they are refused or are a message that
// is the same after it was sent on.
func FuzzControl(f *testing.F) {
	for _, c := range messages {
		f.Add(raw(f, c.bytes))
	}
	f.Add(bytes.Repeat([]byte{0xff}, wire.Size))
	f.Add([]byte{8, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.Decode(b)
		if err != nil {
			if len(b) == wire.Size && b[1] == 0 && b[0] >= 1 && b[0] <= 8 {
				t.Fatalf("a message of type %d is refused: %v", b[0], err)
			}
			return
		}
		if init, ok := m.(wire.Init); ok && len(init.Secret) > wire.MaxSecret {
			return // such a secret can be received, and never be right
		}
		again, err := wire.Decode(encode(m))
		if err != nil || again != m {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
