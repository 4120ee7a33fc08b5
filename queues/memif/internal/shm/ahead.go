package shm

// Ahead is a list of cache lines that will be needed soon.
type Ahead struct {
	at [64]*byte
	n  int
}

// Add puts the line of b's first byte on the list. Beyond its end nothing is
// listed.
func (a *Ahead) Add(b []byte) {
	if len(b) > 0 && a.n < len(a.at) {
		a.at[a.n] = &b[0]
		a.n++
	}
}

// Fetch has the processor fetch all that is listed, side by side, and empties the
// list. It does not wait, and it reads nothing: that some of it is not there any
// more does not matter.
func (a *Ahead) Fetch() {
	prefetch(&a.at[0], a.n)
	a.n = 0
}
