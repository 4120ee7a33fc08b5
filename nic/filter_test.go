package nic

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	one = unix.PACKET_MR_MULTICAST
	all = unix.PACKET_MR_ALLMULTI
)

type membership struct {
	kind  uint16
	index int
	mac   [6]byte
}

// fakeKernel counts memberships as the kernel does, of devices that exist and
// take up to room addresses each.
type fakeKernel struct {
	t       *testing.T
	devices map[int]bool
	room    int
	held    map[membership]int
}

func newFakeKernel(t *testing.T, room int, devices ...int) *fakeKernel {
	k := &fakeKernel{t: t, room: room, devices: map[int]bool{}, held: map[membership]int{}}
	for _, d := range devices {
		k.devices[d] = true
	}
	return k
}

func (k *fakeKernel) join(kind uint16, index int, mac [6]byte) error {
	if !k.devices[index] {
		return unix.ENODEV
	}
	if kind == one && k.count(one, index) >= k.room {
		return unix.ENOSPC
	}
	k.held[membership{kind, index, mac}]++
	return nil
}

func (k *fakeKernel) leave(kind uint16, index int, mac [6]byte) error {
	m := membership{kind, index, mac}
	if k.held[m] == 0 {
		return unix.EADDRNOTAVAIL
	}
	if k.held[m]--; k.held[m] == 0 {
		delete(k.held, m)
	}
	return nil
}

// unplug takes a device away as the kernel does: its memberships are gone.
func (k *fakeKernel) unplug(index int) {
	delete(k.devices, index)
	for m := range k.held {
		if m.index == index {
			delete(k.held, m)
		}
	}
}

func (k *fakeKernel) count(kind uint16, index int) int {
	n := 0
	for m, times := range k.held {
		if times != 1 {
			k.t.Errorf("%v is held %d times", m, times)
		}
		if m.kind == kind && m.index == index {
			n++
		}
	}
	return n
}

// wants fails unless device 1 was told exactly this.
func (k *fakeKernel) wants(index, single int, wide bool) {
	k.t.Helper()
	if got := k.count(one, index); got != single {
		k.t.Errorf("%d single addresses on device %d, want %d", got, index, single)
	}
	if got := k.count(all, index) == 1; got != wide {
		k.t.Errorf("accepting all on device %d: %v, want %v", index, got, wide)
	}
}

func macs(from, to int) [][6]byte {
	var list [][6]byte
	for i := from; i < to; i++ {
		mac := [6]byte{0x33, 0x33, 0xff}
		mac[3] = byte(i >> 16)
		binary.BigEndian.PutUint16(mac[4:], uint16(i))
		list = append(list, mac)
	}
	return list
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilterGoesWideAndBack(t *testing.T) {
	k, f := newFakeKernel(t, 1000, 1), newFilter(one, all, 4, 0)
	mustDo(t, f.add(k, 1, macs(0, 4)))
	k.wants(1, 4, false)
	mustDo(t, f.add(k, 1, macs(4, 10)))
	k.wants(1, 4, true)
	mustDo(t, f.remove(k, 1, macs(0, 2))) // eight are left
	k.wants(1, 2, true)
	mustDo(t, f.remove(k, 1, macs(4, 7))) // five
	k.wants(1, 2, true)
	mustDo(t, f.remove(k, 1, macs(7, 8))) // four
	k.wants(1, 4, false)
	mustDo(t, f.remove(k, 1, macs(0, 10)))
	k.wants(1, 0, false)
	if len(k.held) != 0 || len(f.wanted) != 0 {
		t.Errorf("left behind: %v, %v", k.held, f.wanted)
	}
}

func TestFilterCounts(t *testing.T) {
	k, f := newFakeKernel(t, 1000, 1), newFilter(one, all, 4, 0)
	mustDo(t, f.add(k, 1, macs(0, 2)))
	mustDo(t, f.add(k, 1, macs(0, 1)))
	mustDo(t, f.remove(k, 1, macs(0, 2)))
	k.wants(1, 1, false)
	mustDo(t, f.remove(k, 1, macs(5, 6))) // never added
	mustDo(t, f.remove(k, 1, macs(0, 1)))
	mustDo(t, f.remove(k, 1, macs(0, 1)))
	k.wants(1, 0, false)
}

func TestFilterFallsBackWhenTheDeviceIsFull(t *testing.T) {
	k, f := newFakeKernel(t, 2, 1), newFilter(one, all, 100, 0)
	mustDo(t, f.add(k, 1, macs(0, 3)))
	k.wants(1, 2, true)
	mustDo(t, f.add(k, 1, macs(3, 5)))
	mustDo(t, f.remove(k, 1, macs(4, 5))) // still more than fit
	k.wants(1, 2, true)
	mustDo(t, f.remove(k, 1, macs(0, 2)))
	k.wants(1, 2, false)
}

// refuser lets nothing through.
type refuser struct{ err error }

func (r refuser) join(uint16, int, [6]byte) error  { return r.err }
func (r refuser) leave(uint16, int, [6]byte) error { return r.err }

func TestFilterAllOrNothing(t *testing.T) {
	f := newFilter(one, all, 4, 0)
	if err := f.add(refuser{unix.EPERM}, 1, macs(0, 3)); !errors.Is(err, unix.EPERM) {
		t.Errorf("a refused membership: %v", err)
	}
	if len(f.wanted) != 0 || len(f.joined) != 0 || f.wide {
		t.Errorf("left behind: %+v", f)
	}
}

func TestFilterFollowsTheDevice(t *testing.T) {
	k, f := newFakeKernel(t, 1000, 1), newFilter(one, all, 4, 0)
	mustDo(t, f.add(k, 1, macs(0, 3)))
	k.unplug(1)
	mustDo(t, f.add(k, 1, macs(3, 4))) // noted while it is away
	mustDo(t, f.remove(k, 1, macs(0, 1)))
	k.devices[2] = true
	mustDo(t, f.rebind(k, 1, 2))
	k.wants(2, 3, false)
	mustDo(t, f.rebind(k, 2, 2)) // the device never left
	k.wants(2, 3, false)
	mustDo(t, f.add(k, 2, macs(10, 20)))
	k.devices[3] = true
	mustDo(t, f.rebind(k, 2, 3))
	k.wants(2, 0, false)
	if !f.wide {
		t.Error("13 addresses of 4 allowed and not wide")
	}
	mustDo(t, f.remove(k, 3, macs(0, 20)))
	if len(k.held) != 0 {
		t.Errorf("left behind: %v", k.held)
	}
}

// Whatever happens in whatever order: what is wanted is accepted, and in the
// end nothing is held.
func TestFilterInAnyOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		k, f := newFakeKernel(t, 1+rnd.IntN(12), 1), newFilter(one, all, 1+rnd.IntN(8), 0)
		model := map[[6]byte]int{}
		index := 1
		for range 60 {
			mac := macs(0, 12)[rnd.IntN(12)]
			switch rnd.IntN(7) {
			case 0, 1, 2:
				mustDo(t, f.add(k, index, [][6]byte{mac}))
				model[mac]++
			case 3, 4, 5:
				mustDo(t, f.remove(k, index, [][6]byte{mac}))
				model[mac] = max(model[mac]-1, 0)
			default:
				k.unplug(index)
				k.devices[index+1] = true
				mustDo(t, f.rebind(k, index, index+1))
				index++
			}
			for mac, times := range model {
				accepted := k.held[membership{all, index, [6]byte{}}] > 0 || k.held[membership{one, index, mac}] > 0
				if times > 0 && !accepted {
					t.Fatalf("%x is wanted and not accepted", mac)
				}
			}
		}
		for mac, times := range model {
			for range times {
				mustDo(t, f.remove(k, index, [][6]byte{mac}))
			}
		}
		if len(k.held) != 0 {
			t.Fatalf("left behind: %v", k.held)
		}
	}
}

func TestSolicitedNodeGroup(t *testing.T) {
	// RFC 4291, section 2.7.1 has this very example.
	got, ok := SolicitedNodeGroup(netip.MustParseAddr("4037::01:800:200e:8c6c"))
	if want := ([6]byte{0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c}); !ok || got != want {
		t.Errorf("got %x, %v; want %x", got, ok, want)
	}
	for _, s := range []string{"10.0.0.1", "::ffff:10.0.0.1"} {
		if _, ok := SolicitedNodeGroup(netip.MustParseAddr(s)); ok {
			t.Errorf("%s has a solicited-node group", s)
		}
	}
}
