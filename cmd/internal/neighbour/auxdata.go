package neighbour

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// The parts of struct tpacket_auxdata (packet(7)) that matter here: the status
// word and the VLAN tag that the kernel took off.
const (
	auxStatus   = 0
	auxVLANTCI  = 16
	auxLen      = 20
	vlanIsValid = 0x10 // TP_STATUS_VLAN_VALID
	vlanMask    = 0x0fff
)

// tag finds the VLAN of a received frame in its control messages; 0 is none.
func tag(oob []byte) uint16 {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < auxLen {
			continue
		}
		if binary.NativeEndian.Uint32(m.Data[auxStatus:])&vlanIsValid != 0 {
			return binary.NativeEndian.Uint16(m.Data[auxVLANTCI:]) & vlanMask
		}
	}
	return 0
}
