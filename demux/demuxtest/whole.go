package demuxtest

import (
	"slices"
	"sync"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// WholeLink is a Link with a second way out; see demux.WholeLink. Whole and SetFull
// may be called from any goroutine.
type WholeLink struct {
	*Link
	offloads frame.Offload

	mu    sync.Mutex
	whole []frame.Frame
	full  bool
}

// NewWholeLink puts a second way out, with these offloads, beside a link.
func NewWholeLink(l *Link, offloads frame.Offload) *WholeLink {
	return &WholeLink{Link: l, offloads: offloads}
}

// SetFull has the second way out take nothing.
func (l *WholeLink) SetFull(full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full = full
}

// Whole returns what left by the second way since the last call.
func (l *WholeLink) Whole() []frame.Frame {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.whole
	l.whole = nil
	return f
}

// SendWhole sends one frame; see demux.WholeLink.
func (l *WholeLink) SendWhole(f *frame.Frame) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full {
		return false
	}
	l.whole = append(l.whole, frame.Frame{Data: slices.Clone(f.Data), Meta: f.Meta})
	return true
}

// Offloads is what NewWholeLink was told.
func (l *WholeLink) Offloads() frame.Offload { return l.offloads }
