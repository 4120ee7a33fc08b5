package memif

// violation is what a worker found wrong with a client. Workers do not write
// text.
type violation uint32

const (
	faultless violation = iota
	headBeyondRing
	outsideOfRegion
	emptyBuffer
	endlessChain
	memoryWithdrawn
)

// String is the reason that the client is told.
func (v violation) String() string {
	switch v {
	case headBeyondRing:
		return "a ring's head is further ahead than the ring has slots"
	case outsideOfRegion:
		return "a descriptor points outside of the regions"
	case emptyBuffer:
		return "a buffer of no bytes was lent to the server"
	case endlessChain:
		return "a frame is chained over more than 256 descriptors"
	case memoryWithdrawn:
		return "shared memory was taken away while it was in use"
	}
	return "no fault"
}
