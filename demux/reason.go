package demux

// Reason says why a frame was lost. The list is closed: every lost frame is
// counted under exactly one of these, at one place.
type Reason uint8

// The reasons. Their names, as String gives them, are stable.
const (
	// Full: the destination's queue had no room.
	Full Reason = iota
	// TooBig: larger than the destination's MTU or queue takes; the sender is
	// told the path MTU where the protocols know how (RFC 1191, RFC 8201).
	TooBig
	// Gone: nobody holds the other end of the destination's queue.
	Gone
	// NoPort: addressed to nobody here: no rule, or the sender itself.
	NoPort
	// Spoofed: a container used an address that is not its own, in a header
	// or in an ARP or Neighbour Discovery body, or a message that no
	// container may send (Router Advertisement, Redirect).
	Spoofed
	// Malformed: too short, or its headers contradict its length.
	Malformed
	// BadVLAN: tagged by a container, or tagged twice on the wire.
	BadVLAN
	// NotAllowed: what the port's identity may not send: a protocol, from or to
	// a loopback address, super-frames to be cut into very many segments.
	NotAllowed
	// Conflict: on the wire somebody claims an address of a port or of the host,
	// or probes with the MAC of a port: another owner, a liar, or the port's own
	// announcement come back.
	Conflict
	// WireFull: no transmit buffer, or the NIC is down.
	WireFull
	// SlowFull: the destination is on a slow lane whose mailbox had no room.
	SlowFull
	// MailboxFull: the worker that owns the destination's lane had no room in
	// its mailbox.
	MailboxFull

	// NumReasons is how many reasons there are.
	NumReasons = iota
)

func reasonNames() [NumReasons]string {
	return [NumReasons]string{
		Full: "full", TooBig: "too_big", Gone: "gone", NoPort: "no_port",
		Spoofed: "spoofed", Malformed: "malformed", BadVLAN: "bad_vlan",
		NotAllowed: "not_allowed", Conflict: "conflict", WireFull: "wire_full",
		SlowFull: "slow_full", MailboxFull: "mailbox_full",
	}
}

// String is the reason's stable name, as counters are labelled with it.
func (r Reason) String() string {
	if names := reasonNames(); int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}
