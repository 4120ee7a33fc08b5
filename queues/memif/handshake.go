package memif

import (
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// stage is how far a client has come. It only grows.
type stage uint8

const (
	greeted  stage = iota // HELLO is sent, INIT is next
	admitted              // regions, or the first ring
	rings                 // rings, or CONNECT
	complete              // everything is there and has been checked
)

// theirRing is a ring that the client has announced.
type theirRing struct {
	ring shm.Ring
	fd   int // the doorbell, which is ours
}

// handshake is what a client has said until it is connected. It knows no
// socket. Whatever it has taken is let go of by its owner.
type handshake struct {
	cfg       *Config
	stage     stage
	init      wire.Init
	regions   []*shm.Region
	memory    uint64 // of all regions, in bytes
	rings     [2][]theirRing
	ringSize  int
	ifaceName string
}

// step takes the client's next message and the descriptor that came beside it,
// which becomes -1 where the handshake keeps it. The error is the reason to
// end the client with; after it, and after stage complete, no step may follow.
func (h *handshake) step(m wire.Message, fd *int) error {
	if err := h.checkDescriptor(m, *fd); err != nil {
		return err
	}
	switch m := m.(type) {
	case wire.Init:
		return h.onInit(m)
	case wire.AddRegion:
		return h.onRegion(m, *fd)
	case wire.AddRing:
		return h.onRing(m, fd)
	case wire.Connect:
		return h.onConnect(m)
	}
	return fmt.Errorf("unexpected %v: only a server says that", m.Type())
}

// checkDescriptor: regions and rings come with one, nothing else does.
func (h *handshake) checkDescriptor(m wire.Message, fd int) error {
	switch m.Type() {
	case wire.TypeAddRegion, wire.TypeAddRing:
		if fd < 0 {
			return fmt.Errorf("%v came without its descriptor", m.Type())
		}
	default:
		if fd >= 0 {
			return fmt.Errorf("%v came with a descriptor, which it has no use for", m.Type())
		}
	}
	return nil
}

func (h *handshake) onInit(m wire.Init) error {
	switch {
	case h.stage != greeted:
		return errors.New("unexpected INIT: there was one already")
	case m.Version != wire.Version:
		return fmt.Errorf("incompatible version %d.%d: this server speaks memif 2.0", m.Version>>8, m.Version&0xff)
	case m.ID != h.cfg.ID:
		return fmt.Errorf("there is no interface %d on this socket: its id is %d", m.ID, h.cfg.ID)
	case m.Mode != wire.ModeEthernet:
		return fmt.Errorf("mode %d: this server takes Ethernet mode (0) only", m.Mode)
	case h.cfg.Secret != "" && m.Secret == "":
		return errors.New("a secret is required")
	case h.cfg.Secret != "" && !sameSecret(h.cfg.Secret, m.Secret):
		return errors.New("incorrect secret")
	}
	h.init, h.stage = m, admitted
	h.init.Secret = ""
	return nil
}

// sameSecret takes as long for a wrong secret as for the right one.
func sameSecret(a, b string) bool {
	var x, y [wire.MaxSecret + 1]byte
	copy(x[:], a)
	copy(y[:], b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func (h *handshake) onRegion(m wire.AddRegion, fd int) error {
	limit := h.cfg.maxMemory()
	switch {
	case h.stage != admitted:
		return errors.New("unexpected ADD_REGION: regions come between INIT and the first ring")
	case int(m.Index) != len(h.regions):
		return fmt.Errorf("region %d came, region %d was next", m.Index, len(h.regions))
	case len(h.regions) == maxRegions:
		return fmt.Errorf("more than %d regions", maxRegions)
	case m.Size > limit-h.memory:
		return fmt.Errorf("%d KiB of memory: at most %d KiB are taken; bring fewer slots or smaller buffers",
			(h.memory+min(m.Size, 1<<62))>>10, limit>>10)
	}
	region, err := shm.MapRegion(fd, m.Size, h.cfg.AllowUnsealed)
	if errors.Is(err, shm.ErrUnsealed) {
		return errors.New("memory that can shrink (no F_SEAL_SHRINK): end zero-copy, or have the port allow it")
	}
	if err != nil {
		return err
	}
	h.regions = append(h.regions, region)
	h.memory += m.Size
	return nil
}

func (h *handshake) onRing(m wire.AddRing, fd *int) error {
	mine := &h.rings[direction(m)]
	switch {
	case h.stage != admitted && h.stage != rings:
		return errors.New("unexpected ADD_RING: rings come between the regions and CONNECT")
	case int(m.Index) != len(*mine):
		return fmt.Errorf("%v ring %d came, ring %d was next", direction(m), m.Index, len(*mine))
	case len(*mine) == h.cfg.Rings:
		return fmt.Errorf("more than %d rings: this interface has exactly %d each way; configure as many",
			h.cfg.Rings, h.cfg.Rings)
	case m.PrivateHeader != 0:
		return errors.New("private headers are not supported")
	case m.Log2 < 1 || m.Log2 > h.cfg.maxLog2():
		return fmt.Errorf("a ring of 2^%d slots: 2^1 to 2^%d were offered", m.Log2, h.cfg.maxLog2())
	case int(m.Region) >= len(h.regions):
		return fmt.Errorf("a ring in region %d, of %d regions", m.Region, len(h.regions))
	case !isEventFD(*fd):
		return errors.New("the descriptor of a ring is no eventfd")
	}
	ring, err := shm.OpenRing(h.regions[m.Region].Data(), m.Offset, m.Log2)
	if err != nil {
		return err
	}
	*mine = append(*mine, theirRing{ring: ring, fd: *fd})
	*fd = -1
	h.stage, h.ringSize = rings, max(h.ringSize, 1<<m.Log2)
	return nil
}

func direction(m wire.AddRing) shm.Direction {
	if m.C2S {
		return shm.C2S
	}
	return shm.S2C
}

// isEventFD: a doorbell is waited on and written to. Any other kind of file
// could do anything then.
func isEventFD(fd int) bool {
	var link [32]byte
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), link[:])
	return err == nil && string(link[:n]) == "anon_inode:[eventfd]"
}

func (h *handshake) onConnect(m wire.Connect) error {
	to, from := len(h.rings[shm.C2S]), len(h.rings[shm.S2C])
	switch {
	case h.stage != rings && h.stage != admitted:
		return errors.New("unexpected CONNECT: INIT comes first")
	case to != h.cfg.Rings || from != h.cfg.Rings:
		return fmt.Errorf("%d rings to the server, %d from it: this interface has exactly %d each way; configure as many",
			to, from, h.cfg.Rings)
	}
	right := true
	if !touch(h.regions, func() { right = h.cookies() }) {
		return errors.New(memoryWithdrawn.String())
	}
	if !right {
		return errors.New("a ring has the wrong cookie")
	}
	h.ifaceName, h.stage = m.Interface, complete
	return nil
}

func (h *handshake) cookies() bool {
	for _, direction := range h.rings {
		for i := range direction {
			if direction[i].ring.Cookie() != shm.Cookie {
				return false
			}
		}
	}
	return true
}

// doorbells are all descriptors that the handshake holds.
func (h *handshake) doorbells() (fds []int) {
	for _, direction := range h.rings {
		for i := range direction {
			fds = append(fds, direction[i].fd)
		}
	}
	return fds
}

// views are the regions as a lane uses them.
func (h *handshake) views() shm.Regions {
	views := make(shm.Regions, len(h.regions))
	for i, r := range h.regions {
		views[i] = r.Data()
	}
	return views
}

// unmap lets go of the regions; nobody may use them any more.
func (h *handshake) unmap() error {
	var errs []error
	for _, r := range h.regions {
		errs = append(errs, r.Close())
	}
	h.regions = nil
	return errors.Join(errs...)
}
