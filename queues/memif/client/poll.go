package client

import "golang.org/x/sys/unix"

// Fd is the eventfd by which the server says that frames have come, for a program
// that sleeps on many rings at once, in an epoll instance of its own. It is the
// connection's, and closed with it: it has to be taken out of the epoll instance
// before Close, since the server has it as well. Where epoll watches it
// edge-triggered nobody needs to read it. Such a program calls Arm and Read;
// ReadContext would read the eventfd itself.
func (r *Ring) Fd() int { return r.rx.fd }

// Arm says whether the server is to write to Fd whenever it has put frames into
// the ring. A new ring is not armed, and reads as one that is polled. Who arms it
// looks with Read once more before he sleeps. The end of the connection rings as
// well, and Read says why it ended.
//
// DPDK's server reads what Arm says a moment before its frames are visible, so
// with that one the first sleep should be short.
//
// After Close it returns ErrClosed and does nothing.
func (r *Ring) Arm(on bool) error {
	x := &r.rx
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	x.armed = on
	x.ring.SetMasked(!on)
	return nil
}

// rouse rings for the end of the connection, if somebody sleeps on Fd.
func (x *receiver) rouse() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.armed && !x.closed {
		_, _ = unix.Write(x.fd, []byte{1, 1, 1, 1, 1, 1, 1, 1}) // whatever it says
	}
}
