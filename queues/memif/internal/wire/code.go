package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Errors that Decode wraps.
var (
	// ErrSize: a message is not Size bytes long.
	ErrSize = errors.New("a memif message is 128 bytes long")
	// ErrType: there is no such message.
	ErrType = errors.New("unknown memif message type")
)

// order is the host's; both peers are on one host.
var order = binary.NativeEndian

// Encode is the message as it travels. Text that is too long is cut.
func Encode(m Message) (b [Size]byte) {
	order.PutUint16(b[0:], uint16(m.Type()))
	m.put(&b)
	return b
}

func (Ack) put(*[Size]byte) {}

func (m Hello) put(b *[Size]byte) {
	putText(b[2:], m.Name, MaxName)
	order.PutUint16(b[34:], m.MinVersion)
	order.PutUint16(b[36:], m.MaxVersion)
	order.PutUint16(b[38:], m.MaxRegion)
	order.PutUint16(b[40:], m.MaxS2CRing)
	order.PutUint16(b[42:], m.MaxC2SRing)
	b[44] = m.MaxLog2Ring
}

func (m Init) put(b *[Size]byte) {
	order.PutUint16(b[2:], m.Version)
	order.PutUint32(b[4:], m.ID)
	b[8] = m.Mode
	putText(b[9:], m.Secret, MaxSecret)
	putText(b[33:], m.Name, MaxName)
}

func (m AddRegion) put(b *[Size]byte) {
	order.PutUint16(b[2:], m.Index)
	order.PutUint64(b[4:], m.Size)
}

func (m AddRing) put(b *[Size]byte) {
	if m.C2S {
		order.PutUint16(b[2:], 1)
	}
	order.PutUint16(b[4:], m.Index)
	order.PutUint16(b[6:], m.Region)
	order.PutUint32(b[8:], m.Offset)
	b[12] = m.Log2
	order.PutUint16(b[13:], m.PrivateHeader)
}

func (m Connect) put(b *[Size]byte)   { putText(b[2:], m.Interface, MaxName) }
func (m Connected) put(b *[Size]byte) { putText(b[2:], m.Interface, MaxName) }

func (m Disconnect) put(b *[Size]byte) {
	order.PutUint32(b[2:], m.Code)
	putText(b[6:], m.Reason, MaxReason)
}

func putText(b []byte, s string, limit int) { copy(b[:limit], s) }

// Decode reads a message. Bytes that no field covers, and flags that have no
// meaning yet, are not looked at. In text that is meant to be read, what is
// not printable ASCII becomes a question mark; a secret stays as it is. The
// error wraps ErrSize or ErrType.
func Decode(b []byte) (Message, error) {
	if len(b) != Size {
		return nil, fmt.Errorf("%w, this one is %d", ErrSize, len(b))
	}
	switch t := Type(order.Uint16(b)); t {
	case TypeAck:
		return Ack{}, nil
	case TypeHello:
		return decodeHello(b), nil
	case TypeInit:
		return decodeInit(b), nil
	case TypeAddRegion:
		return AddRegion{Index: order.Uint16(b[2:]), Size: order.Uint64(b[4:])}, nil
	case TypeAddRing:
		return decodeAddRing(b), nil
	case TypeConnect:
		return Connect{Interface: text(b[2:34])}, nil
	case TypeConnected:
		return Connected{Interface: text(b[2:34])}, nil
	case TypeDisconnect:
		return Disconnect{Code: order.Uint32(b[2:]), Reason: text(b[6:102])}, nil
	default:
		return nil, fmt.Errorf("%w %d", ErrType, uint16(t))
	}
}

func decodeHello(b []byte) Hello {
	return Hello{
		Name:        text(b[2:34]),
		MinVersion:  order.Uint16(b[34:]),
		MaxVersion:  order.Uint16(b[36:]),
		MaxRegion:   order.Uint16(b[38:]),
		MaxS2CRing:  order.Uint16(b[40:]),
		MaxC2SRing:  order.Uint16(b[42:]),
		MaxLog2Ring: b[44],
	}
}

func decodeInit(b []byte) Init {
	return Init{
		Version: order.Uint16(b[2:]),
		ID:      order.Uint32(b[4:]),
		Mode:    b[8],
		Secret:  string(untilNUL(b[9:33])),
		Name:    text(b[33:65]),
	}
}

func decodeAddRing(b []byte) AddRing {
	return AddRing{
		C2S:           order.Uint16(b[2:])&1 != 0,
		Index:         order.Uint16(b[4:]),
		Region:        order.Uint16(b[6:]),
		Offset:        order.Uint32(b[8:]),
		Log2:          b[12],
		PrivateHeader: order.Uint16(b[13:]),
	}
}

// text is a field that is meant to be read; its last byte never counts.
func text(b []byte) string { return printable(string(untilNUL(b[:len(b)-1]))) }

func untilNUL(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}
