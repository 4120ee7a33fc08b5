// Package frame is the one vocabulary that every room shares: the bytes of an
// Ethernet frame and the plain values that travel beside them. It holds no
// logic and imports nothing.
package frame

// Frame is one Ethernet frame, without FCS, from the destination MAC on.
//
// Who owns Data is said by the call that hands the Frame over: bytes are lent
// or copied, never given.
type Frame struct {
	Data []byte
	Meta
}

// Meta is what is known about a frame and does not stand in its bytes.
type Meta struct {
	// Hint and Gen are the kernel's own look-up, if it came along: the port's
	// slot and the generation of that slot. Hint 0 means none.
	Hint, Gen uint32
	// VLAN is the tag that was taken off, or that is to be put on: a VLAN
	// identifier of 1 to 4094, or 0 for an untagged frame.
	VLAN uint16
	// Flags is a set of NeedsChecksum and ChecksumVerified.
	Flags uint8
	// GSO says that Data is a super-frame, to be cut into segments of GSOSize
	// bytes of payload each behind a copy of the first HdrLen bytes; or, as
	// GSOPiece, that it is a part of the super-frame in front of it.
	GSO uint8
	// GSOSize and HdrLen are in bytes; they count only where GSO is not GSONone.
	GSOSize, HdrLen uint16
	// CsumStart and CsumOffset are in bytes: with NeedsChecksum, the internet
	// checksum over Data[CsumStart:] belongs at CsumStart+CsumOffset, where
	// the pseudo-header's sum already stands (virtio 1.2, section 5.1.6.2).
	CsumStart, CsumOffset uint16
}

// The bits of Meta.Flags.
const (
	// NeedsChecksum: the transport checksum is partial; see Meta.CsumStart.
	NeedsChecksum uint8 = 1 << iota
	// ChecksumVerified: whoever handed the frame over vouches for its
	// transport checksum.
	ChecksumVerified
)

// The values of Meta.GSO.
const (
	GSONone uint8 = iota
	GSOTCPv4
	GSOTCPv6
	GSOUDP
	// GSOPiece: Data is no frame, but goes on with the payload of the frame in
	// front of it in the batch. It was a frame of its own, of which HdrLen bytes
	// of headers were left out; nothing else in Meta counts. Lanes with
	// OffloadGather take it, and nobody yields it.
	GSOPiece
)

// Refusal says why a queue did not take a frame.
type Refusal uint8

// The reasons of a refusal.
const (
	// Accepted: nothing was refused.
	Accepted Refusal = iota
	// Full: the queue has no room now; what follows would be refused as well.
	Full
	// TooBig: this frame never fits; the next one may.
	TooBig
	// Gone: nobody holds the other end; nothing fits until somebody does.
	Gone
)

// Delivery is what one lane of several is handed in one call, and what became of
// it: the first Taken of Frames were taken, and Why is why the next one was not.
type Delivery struct {
	Lane   any
	Frames []Frame
	Taken  int
	Why    Refusal
}

// Offload is a set of what the other side of a queue can finish by itself.
type Offload uint8

// The bits of an Offload.
const (
	// OffloadChecksum: takes frames with NeedsChecksum as they are.
	OffloadChecksum Offload = 1 << iota
	// OffloadTCPv4, OffloadTCPv6 and OffloadUDP: take super-frames of that kind whole.
	OffloadTCPv4
	OffloadTCPv6
	OffloadUDP
	// OffloadGather: takes super-frames in pieces; see GSOPiece.
	OffloadGather
)
