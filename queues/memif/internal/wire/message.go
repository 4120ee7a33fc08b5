// Package wire is memif 2.0's control channel: its messages, as Go values and
// as the 128 bytes that travel over a SOCK_SEQPACKET socket, and how they are
// sent and received with the descriptors beside them.
//
// The layouts are those of the DPDK and libmemif headers, which agree byte for
// byte. Integers stand in the host's order; both peers are on one host.
package wire

import "strings"

// Size is the length of every message in bytes.
const Size = 128

// Version is the protocol's: 2.0, major in the upper byte.
const Version = 0x0200

// What the fields of a message hold at most, in bytes; the last byte of each
// is a NUL.
const (
	MaxName   = 31
	MaxSecret = 23
	MaxReason = 95
)

// The values of Init.Mode.
const (
	// ModeEthernet: frames begin with an Ethernet header.
	ModeEthernet uint8 = iota
	// ModeIP: packets begin with an IP header.
	ModeIP
	// ModePunt: punt and inject, which only VPP has.
	ModePunt
)

// Type tells the messages apart.
type Type uint16

// The types of messages. Type 0 is not valid.
const (
	TypeAck Type = 1 + iota
	TypeHello
	TypeInit
	TypeAddRegion
	TypeAddRing
	TypeConnect
	TypeConnected
	TypeDisconnect
)

// String names the type as the other implementations do.
func (t Type) String() string {
	names := [...]string{"NONE", "ACK", "HELLO", "INIT", "ADD_REGION", "ADD_RING", "CONNECT", "CONNECTED", "DISCONNECT"}
	if int(t) >= len(names) {
		return "unknown"
	}
	return names[t]
}

// Message is one of the message types below, which are plain values.
type Message interface {
	// Type is the message's.
	Type() Type
	// put writes what stands behind the type.
	put(b *[Size]byte)
}

type (
	// Ack lets the client send its next message.
	Ack struct{}

	// Hello is the server's first word.
	Hello struct {
		Name                   string
		MinVersion, MaxVersion uint16
		// MaxRegion, MaxS2CRing and MaxC2SRing are the highest indices; a
		// client takes them plus one for the counts.
		MaxRegion, MaxS2CRing, MaxC2SRing uint16
		MaxLog2Ring                       uint8
	}

	// Init is the client's first word.
	Init struct {
		Version uint16
		ID      uint32
		Mode    uint8
		// Secret is what stands before the first NUL, as it came.
		Secret string
		Name   string
	}

	// AddRegion comes with the descriptor of the memory file.
	AddRegion struct {
		Index uint16
		// Size is in bytes.
		Size uint64
	}

	// AddRing comes with the ring's eventfd.
	AddRing struct {
		// C2S: packets of this ring go from the client to the server.
		C2S bool
		// Index counts from 0 in each direction.
		Index  uint16
		Region uint16
		// Offset of the ring's header in the region, in bytes.
		Offset uint32
		Log2   uint8
		// PrivateHeader is in bytes; nobody takes any other than 0.
		PrivateHeader uint16
	}

	// Connect ends the client's half of the handshake.
	Connect struct{ Interface string }

	// Connected ends the handshake.
	Connected struct{ Interface string }

	// Disconnect may be sent by either side at any time. What follows is the
	// end of the connection.
	Disconnect struct {
		Code   uint32
		Reason string
	}
)

// Type is described at Message.
func (Ack) Type() Type { return TypeAck }

// Type is described at Message.
func (Hello) Type() Type { return TypeHello }

// Type is described at Message.
func (Init) Type() Type { return TypeInit }

// Type is described at Message.
func (AddRegion) Type() Type { return TypeAddRegion }

// Type is described at Message.
func (AddRing) Type() Type { return TypeAddRing }

// Type is described at Message.
func (Connect) Type() Type { return TypeConnect }

// Type is described at Message.
func (Connected) Type() Type { return TypeConnected }

// Type is described at Message.
func (Disconnect) Type() Type { return TypeDisconnect }

// printable keeps a peer's text from being more than text where it is shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
