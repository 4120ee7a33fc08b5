package packet

import (
	"bytes"
	"testing"
)

func TestStripTag(t *testing.T) {
	plain := udp4(t, 30)
	tests := map[string]struct {
		data, want []byte
		vlan       uint16
	}{
		"untagged":   {plain, plain, 0},
		"802.1Q":     {tagged(plain, 0x8100e064), plain, 100},
		"802.1ad":    {tagged(plain, 0x88a80ffe), plain, 4094},
		"priority":   {tagged(plain, 0x8100e000), plain, 0},
		"outer only": {tagged(plain, 0x88a80005, 0x81000006), tagged(plain, 0x81000006), 5},
		"cut":        {tagged(plain, 0x81000005)[:17], tagged(plain, 0x81000005)[:17], 0},
		"shortest":   {tagged(plain, 0x81000005)[:18], plain[:14], 5},
		"empty":      {nil, nil, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data := exact(tt.data)
			got, vlan := StripTag(data)
			if !bytes.Equal(got, tt.want) || vlan != tt.vlan {
				t.Errorf("VLAN %d:\ngot  %x\nwant %x", vlan, got, tt.want)
			}
			if len(got) > 0 && &got[len(got)-1] != &data[len(data)-1] {
				t.Error("the frame was copied")
			}
		})
	}
}

func TestPushTag(t *testing.T) {
	plain := udp4(t, 30)
	buf := append([]byte{9, 9, 1, 2, 3, 4}, plain...)
	if !PushTag(buf, 6, 100) {
		t.Fatal("refused")
	}
	if want := append([]byte{9, 9}, tagged(plain, 0x81000064)...); !bytes.Equal(buf, want) {
		t.Errorf("\ngot  %x\nwant %x", buf, want)
	}
	if p := decode(t, buf[2:]); p.LinkLayer() == nil {
		t.Error("gopacket finds no link layer")
	}
}

// TestPushTagShortest: four bytes of headroom and a bare header are enough.
func TestPushTagShortest(t *testing.T) {
	plain := udp4(t, 0)[:14]
	buf := append(make([]byte, 4), plain...)
	if !PushTag(exact(buf), 4, 4094) {
		t.Fatal("refused")
	}
	if PushTag(buf, 4, 4094); !bytes.Equal(buf, tagged(plain, 0x81000ffe)) {
		t.Errorf("got %x", buf)
	}
}

func TestPushTagRefuses(t *testing.T) {
	tests := map[string]struct {
		n, start int
		vlan     uint16
	}{
		"no headroom":    {100, 3, 1},
		"negative start": {100, -1, 1},
		"no header":      {17, 4, 1},
		"start beyond":   {100, 101, 1},
		"nothing":        {0, 4, 1},
		"reserved VLAN":  {100, 4, 4095},
		"no such VLAN":   {100, 4, 4096},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			buf := make([]byte, tt.n, 200)
			if PushTag(buf, tt.start, tt.vlan) || !bytes.Equal(buf, make([]byte, tt.n)) {
				t.Error("pushed")
			}
		})
	}
}

func FuzzTag(f *testing.F) {
	for _, data := range seedFrames(f) {
		f.Add(data, 4, uint16(100))
		f.Add(data, 0, uint16(5000))
	}
	f.Fuzz(func(t *testing.T, in []byte, start int, vlan uint16) {
		var h Header
		data := exact(in)
		got, vid := StripTag(data)
		if Parse(in, &h) && (vid != h.VLAN || len(got) != len(in)-min(int(h.Tags), 1)*TagLen) {
			t.Fatalf("VLAN %d, %d of %d bytes; parsed %+v", vid, len(got), len(in), h)
		}
		buf := exact(in)
		if !PushTag(buf, start, vlan) {
			if !bytes.Equal(buf, in) {
				t.Fatal("refused, and changed")
			}
			return
		}
		back, vid := StripTag(buf[start-TagLen:])
		if vid != vlan || !bytes.Equal(back, in[start:]) {
			t.Fatalf("VLAN %d came back as %d", vlan, vid)
		}
	})
}
