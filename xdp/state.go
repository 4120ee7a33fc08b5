package xdp

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// state is the first page of the memfd: everything about a socket that its
// rings do not tell. Behind it stand the owner bytes, one for each chunk that
// transmits, and then the chunks. The one writer is the process that uses the
// socket; a successor reads it in Restore.
//
// A process can be killed between any two stores. Each step that moves more than
// one thing therefore writes down what it is about to do before the first store
// that others can see, and Restore does what is missing. It never has to undo.
type state struct {
	Magic   uint64
	Version uint32
	geometry
	IfIndex, Queue uint32
	Flags          uint32 // multiBuffer

	_ [128 - 8 - 4 - 24 - 12]byte // what follows is hot

	// Exchange is Release's intent: fill producer in the upper half, receive
	// consumer in the lower. The fill ring's entries stand before it is written.
	Exchange uint64
	// Lent is the receive ring's next index to read in the upper half, and the
	// lower half of Received, once the frames before that index are lent.
	Lent uint64
	// Returned is the lower half of Received when the worker last released.
	Returned uint32
	// Sending is Commit's intent: the transmit ring's producer. The ring's
	// entries stand before it is written.
	Sending uint32

	_ [64 - 8 - 8 - 4 - 4]byte

	counters
}

// counters are the numbers of a socket that the kernel does not keep. Written
// by the worker, read by anybody.
type counters struct {
	Received       uint64
	Abandoned      uint64
	BadFrames      uint64
	Sent           uint64
	Rejected       uint64
	BadCompletions uint64
	Kicks          uint64
	Refused        uint64
	Again          uint64
	Downs          uint64
}

const (
	stateMagic   = 0x78646d7873746174 // "xdmxstat"
	stateVersion = 1
	pageSize     = 4096
)

// The bits of state.Flags.
const multiBuffer = 1

// The values of an owner byte.
const (
	ours    = 0 // free, or lent to the worker, which a crash makes free again
	kernels = 1 // from Commit until its completion was read
)

// add is for counters: one writer, any number of readers.
func add(counter *uint64, n uint64) { atomic.StoreUint64(counter, *counter+n) }

// twin packs two indices so that one store writes both.
func twin(upper, lower uint32) uint64       { return uint64(upper)<<32 | uint64(lower) }
func untwin(v uint64) (upper, lower uint32) { return uint32(v >> 32), uint32(v) }

// stateBytes is how much memory stands in front of the chunks.
func (g geometry) stateBytes() uint64 {
	return (pageSize + uint64(g.half()) + pageSize - 1) &^ (pageSize - 1)
}

func (g geometry) memoryBytes() uint64 { return g.stateBytes() + g.umemBytes() }

// format makes the page one of a new socket.
func (st *state) format(c SocketConfig, flags uint32) {
	st.geometry = c.geometry()
	st.IfIndex, st.Queue = uint32(c.IfIndex), uint32(c.Queue)
	st.Flags = flags
	st.Version = stateVersion
	atomic.StoreUint64(&st.Magic, stateMagic)
}

var errState = errors.New("this is no memory of a socket of this version")

// check refuses a page that format did not write, in a memory of that many bytes.
func (st *state) check(memory uint64) error {
	if st.Magic != stateMagic || st.Version != stateVersion {
		return fmt.Errorf("%w: magic %#x, version %d", errState, st.Magic, st.Version)
	}
	if _, err := st.geometry.config(st.IfIndex, st.Queue).Validate(); err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	if want := st.memoryBytes(); memory != want {
		return fmt.Errorf("%w: it has %d bytes instead of %d", errState, memory, want)
	}
	return nil
}
