package queuetest

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// EtherType is that of the suite's own frames: the first of IEEE 802's local
// experimental ones. A Peer need not receive any other but IPv4 and IPv6.
const EtherType = 0x88b5

// header and mark are the start of every frame of the suite's own.
const (
	headerLen = 14
	minLen    = headerLen + 8
)

// numbered is a frame of size bytes that its number, and nothing else, decides.
func numbered(number uint32, size int) frame.Frame {
	b := make([]byte, size)
	fillNumbered(b, number)
	return frame.Frame{Data: b}
}

func fillNumbered(b []byte, number uint32) {
	copy(b, []byte{0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02})
	binary.BigEndian.PutUint16(b[12:], EtherType)
	binary.BigEndian.PutUint32(b[14:], number)
	binary.BigEndian.PutUint32(b[18:], uint32(len(b)))
	for i := minLen; i < len(b); i++ {
		b[i] = byte(uint32(i) * (number + 7))
	}
}

// isNumbered tells the suite's frames from what a container's kernel says by
// itself.
func isNumbered(b []byte) bool {
	return len(b) >= minLen && binary.BigEndian.Uint16(b[12:]) == EtherType
}

// isIP tells the suite's IP frames, whose destination is its own.
func isIP(b []byte) bool {
	return len(b) > headerLen && (b[12] == 0x08 && b[13] == 0 || b[12] == 0x86 && b[13] == 0xdd) && b[5] == 0x01
}

func numberOf(b []byte) uint32 { return binary.BigEndian.Uint32(b[14:]) }

// intact checks every byte.
func intact(b []byte) error {
	if !isNumbered(b) {
		return fmt.Errorf("not a frame of the suite: % x", b[:min(len(b), 40)])
	}
	want := numbered(numberOf(b), len(b))
	if !bytes.Equal(b, want.Data) {
		return fmt.Errorf("frame %d of %d bytes came with other bytes", numberOf(b), len(b))
	}
	return nil
}

// buffers are n empty buffers of size bytes.
func buffers(n, size int) []frame.Frame {
	f := make([]frame.Frame, n)
	for i := range f {
		f[i].Data = make([]byte, size)
	}
	return f
}

// rewind makes the buffers whole again.
func rewind(f []frame.Frame) {
	for i := range f {
		f[i].Data = f[i].Data[:cap(f[i].Data)]
		f[i].Meta = frame.Meta{}
	}
}
