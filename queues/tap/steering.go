package tap

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/tap/bpf"
)

// Steering is the program that chooses the lane of each frame that a container
// sends, so that a flow never moves from lane to lane: TCP by addresses and
// ports, all else, fragments included, by its addresses. The kernel's own
// choice moves a flow when its table of flows forgets it, and when TCP
// retransmits.
//
// One may serve any number of queues. The kernel keeps the program as long as
// an interface uses it, so it may be closed at any time.
type Steering struct{ prog *ebpf.Program }

// LoadSteering loads the program into the kernel. It needs CAP_BPF, or root.
func LoadSteering() (*Steering, error) {
	var objs bpf.SteerObjects
	if err := bpf.LoadSteerObjects(&objs, nil); err != nil {
		return nil, fmt.Errorf("load the steering program of a TAP: %w", err)
	}
	return &Steering{prog: objs.Steer}, nil
}

// Close lets go of the program.
func (s *Steering) Close() error { return s.prog.Close() }

// attach gives the program to a TAP, loading it where s is nil. One lane needs
// none.
func (s *Steering) attach(d *device) error {
	if len(d.fds) == 1 {
		return nil
	}
	if s == nil {
		own, err := LoadSteering()
		if err != nil {
			return err
		}
		defer own.Close()
		s = own
	}
	if err := unix.IoctlSetPointerInt(d.fds[0], unix.TUNSETSTEERINGEBPF, s.prog.FD()); err != nil {
		return fmt.Errorf("steer the flows of TAP %s: %w", d.name, err)
	}
	return nil
}
