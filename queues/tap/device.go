package tap

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/demux/frame"
)

const tunPath = "/dev/net/tun"

// tunFlags are those of every TAP of ours.
const tunFlags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// device is the descriptors of a TAP while it is being set up.
type device struct {
	name string
	// multi says that the TAP can have more than one queue. The kernel
	// makes such a one with room for 256, which costs 190 KiB; it cannot be
	// changed later.
	multi    bool
	fds      []int
	offloads frame.Offload
}

// attach opens lanes queues of the TAP named d.name in the namespace of the
// calling thread; with create it makes the TAP and refuses one that exists.
func (d *device) attach(lanes int, create bool) error {
	for i := range lanes {
		flags := uint16(tunFlags)
		if d.multi {
			flags |= unix.IFF_MULTI_QUEUE
		}
		if create && i == 0 {
			flags |= unix.IFF_TUN_EXCL
		}
		if err := d.attachOne(flags); err != nil {
			return err
		}
	}
	return nil
}

func (d *device) attachOne(flags uint16) error {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return openError(err)
	}
	d.fds = append(d.fds, fd)
	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return fmt.Errorf("interface name %q: %w", d.name, err)
	}
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return attachError(d.name, err)
	}
	return nil
}

// setUp makes the frames' header what vnet.go reads and writes, and asks for
// the offloads.
func (d *device) setUp(gso bool, steering *Steering) error {
	for _, fd := range d.fds {
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, hdrLen); err != nil {
			return fmt.Errorf("set the header length of TAP %s: %w", d.name, err)
		}
	}
	if err := d.setOffloads(gso); err != nil {
		return err
	}
	return steering.attach(d)
}

// setOffloads tells the kernel what we finish ourselves. UDP super-frames need
// Linux 6.2; without them the container's kernel cuts UDP itself.
func (d *device) setOffloads(gso bool) error {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	choices := []struct {
		flags int
		means frame.Offload
	}{{unix.TUN_F_CSUM, frame.OffloadChecksum}}
	if gso {
		choices[0].flags, choices[0].means = tcp|unix.TUN_F_USO4|unix.TUN_F_USO6, frame.OffloadChecksum|superFrames|frame.OffloadGather
		choices = append(choices, choices[0])
		choices[1].flags, choices[1].means = tcp, frame.OffloadChecksum|frame.OffloadTCPv4|frame.OffloadTCPv6|frame.OffloadGather
	}
	var err error
	for _, c := range choices {
		if err = unix.IoctlSetInt(d.fds[0], unix.TUNSETOFFLOAD, c.flags); err == nil {
			d.offloads = c.means
			return nil
		}
	}
	return fmt.Errorf("set the offloads of TAP %s: %w", d.name, err)
}

func (d *device) setPersistent(on bool) error {
	arg := 0
	if on {
		arg = 1
	}
	if err := unix.IoctlSetInt(d.fds[0], unix.TUNSETPERSIST, arg); err != nil {
		return fmt.Errorf("make TAP %s persistent (%t): %w", d.name, on, err)
	}
	return nil
}

// discard closes every descriptor; a TAP that is not persistent goes with the
// last.
func (d *device) discard() error {
	var errs []error
	for _, fd := range d.fds {
		errs = append(errs, unix.Close(fd))
	}
	d.fds = nil
	return errors.Join(errs...)
}

func (d *device) lanes(mtu int, rings []*Ring) []*Lane {
	lanes := make([]*Lane, len(d.fds))
	for i, fd := range d.fds {
		lanes[i] = newLane(fd, mtu, d.offloads)
		if i < len(rings) {
			lanes[i].ring = rings[i]
		}
	}
	return lanes
}
