package daemon

import "time"

// The pauses between attempts to serve the NIC again: each twice the one before.
const (
	firstPause = 250 * time.Millisecond
	mostPause  = 30 * time.Second
)

// backoff says how long to wait before the next attempt. The zero value begins
// with the first pause.
type backoff struct{ next time.Duration }

func (b *backoff) wait() time.Duration {
	d := max(b.next, firstPause)
	b.next = min(2*d, mostPause)
	return d
}
