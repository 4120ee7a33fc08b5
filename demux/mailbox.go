package demux

import (
	"sync/atomic"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

// A mailbox between workers holds this many letters, and this many bytes of
// frames; one of a slow lane, of which there may be thousands, less.
const (
	boxLetters  = 512
	boxBytes    = 1 << 20
	slowLetters = 256
	slowBytes   = 256 << 10
)

// letter is one copied frame on its way to a lane that another thread serves.
type letter struct {
	meta   frame.Meta
	src    *ledger // whose frame it is, in modeSwitch
	to     *ledger
	id     PortID // of the destination
	mode   mode
	off    uint32 // of the bytes in the mailbox
	len    uint32
	end    uint64 // where the bytes end, counted from the first frame ever
	result uint8  // written by the consumer: 0 = delivered, else 1 + Reason
}

// mailbox carries copies of frames from one thread to another, in order: one
// producer, one consumer, no lock. The consumer says of each letter what
// became of it, and the producer reads that when it reaps the letter.
type mailbox struct {
	letters []letter
	data    []byte

	// The producer's.
	head   atomic.Uint64 // letters posted; written by the producer
	reaped uint64        // letters reaped
	wpos   uint64        // bytes used and skipped, ever
	rpos   uint64        // the same, up to the last letter reaped
	_      [64]byte

	// The consumer's.
	tail atomic.Uint64 // letters done with; written by the consumer
	_    [64]byte
}

func newMailbox(letters, bytes int) *mailbox {
	return &mailbox{letters: make([]letter, letters), data: make([]byte, bytes)}
}

// post copies the frame in, or returns false if there is no room. l says
// whose and whither. The producer calls it.
func (b *mailbox) post(f *frame.Frame, l letter) bool {
	head, n := b.head.Load(), uint64(len(f.Data))
	at, ok := b.room(n)
	if !ok || head-b.reaped == uint64(len(b.letters)) {
		return false
	}
	copy(b.data[at:at+n], f.Data)
	b.wpos += n
	l.meta, l.off, l.len, l.end = f.Meta, uint32(at), uint32(n), b.wpos
	b.letters[head%uint64(len(b.letters))] = l
	b.head.Store(head + 1)
	return true
}

// room returns where n bytes fit in one piece; it skips the end of the ring if
// they do not fit there.
func (b *mailbox) room(n uint64) (at uint64, ok bool) {
	size := uint64(len(b.data))
	if n > size {
		return 0, false
	}
	at, skip := b.wpos%size, uint64(0)
	if at+n > size {
		at, skip = 0, size-at
	}
	if b.wpos+skip+n-b.rpos > size {
		return 0, false
	}
	b.wpos += skip
	return at, true
}

// reap returns the next letter that the consumer is done with, or nil. It is
// valid until the next post. The producer calls it.
func (b *mailbox) reap() *letter {
	if b.reaped == b.tail.Load() {
		return nil
	}
	l := &b.letters[b.reaped%uint64(len(b.letters))]
	b.reaped++
	b.rpos = l.end
	return l
}

// discard reaps letters whose fate the consumer counts itself.
func (b *mailbox) discard() {
	for b.reap() != nil {
	}
}

// pending is how many letters wait for the consumer.
func (b *mailbox) pending() int { return int(b.head.Load() - b.tail.Load()) }

// settled tells the producer that nothing is left, neither posted nor to reap.
func (b *mailbox) settled() bool { return b.reaped == b.head.Load() }

// letter returns the i-th waiting letter and its frame; the consumer calls it
// for i below pending. Both are valid until done.
func (b *mailbox) letter(i int) (*letter, frame.Frame) {
	l := &b.letters[(b.tail.Load()+uint64(i))%uint64(len(b.letters))]
	return l, frame.Frame{Data: b.data[l.off : l.off+l.len : l.off+l.len], Meta: l.meta}
}

// done gives the first n letters back to the producer.
func (b *mailbox) done(n int) { b.tail.Store(b.tail.Load() + uint64(n)) }

// mailRow is the mailboxes of one sending worker, by receiving worker.
type mailRow []*mailbox

// needMail makes the mailboxes between workers when the first port comes that
// has fewer lanes than there are workers.
func (s *Switch) needMail(p *port) {
	if s.mail != nil || !p.hasRemote() {
		return
	}
	s.mail = make([]mailRow, len(s.workers))
	for i := range s.mail {
		s.mail[i] = make(mailRow, len(s.workers))
		for j := range s.mail[i] {
			if i != j {
				s.mail[i][j] = newMailbox(boxLetters, boxBytes)
			}
		}
	}
}

func (p *port) hasRemote() bool {
	for i := range p.lanes {
		if p.lanes[i].lane == nil {
			return true
		}
	}
	return false
}
