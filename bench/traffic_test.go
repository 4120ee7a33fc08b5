package main

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func testTraffic() traffic {
	return traffic{Sizes: []int{60}, Containers: 10000, Src: [6]byte{2, 0x77, 0x69, 0x72, 0, 1}, NIC: [6]byte{2, 0x6e, 0x69, 0x63, 0, 1}}
}

// TestFramesAreWhatAnotherParserSees: every frame parses as Ethernet, IPv4 and
// UDP with the right addresses, lengths and header checksum.
func TestFramesAreWhatAnotherParserSees(t *testing.T) {
	for _, tr := range []traffic{testTraffic(), {Random: true, ByMAC: true}} {
		for _, size := range []int{60, 508, 590, 1496, maxFrame} {
			for _, i := range []int{0, 1, 255, 256, 9999} {
				inspect(t, tr, i, size)
			}
		}
	}
}

func inspect(t *testing.T, tr traffic, i, size int) {
	t.Helper()
	data := tr.frame(i, size)
	if len(data) != size {
		t.Fatalf("frame of %d bytes has %d", size, len(data))
	}
	p := gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.Default)
	if p.ErrorLayer() != nil {
		t.Fatal(p.ErrorLayer().Error())
	}
	mac := tr.mac(i)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth.DstMAC.String() != net.HardwareAddr(mac[:]).String() {
		t.Errorf("container %d: to MAC %v", i, eth.DstMAC)
	}
	ip := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if dst, _ := netip.AddrFromSlice(ip.DstIP.To4()); dst != tr.address(i) || int(ip.Length) != size-ethLen {
		t.Errorf("container %d: to %v, %d bytes", i, dst, ip.Length)
	}
	want := ip.Checksum
	again := *ip
	buf := gopacket.NewSerializeBuffer()
	if err := again.SerializeTo(buf, gopacket.SerializeOptions{ComputeChecksums: true}); err != nil || again.Checksum != want {
		t.Errorf("container %d: checksum %#x, want %#x (%v)", i, want, again.Checksum, err)
	}
	udp := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if udp.DstPort != drainPort || int(udp.Length) != size-udpAt || udp.Checksum != 0 {
		t.Errorf("container %d: UDP %+v", i, udp)
	}
}

// TestFramesBetweenContainersAreWhole: each has a good checksum, and comes from
// one container to the next.
func TestFramesBetweenContainersAreWhole(t *testing.T) {
	tr := testTraffic()
	tr.Containers = 3
	out, want := passedFrames(tr)
	for i := range tr.Containers {
		to := (i + 1) % tr.Containers
		f := out[i][0]
		if &f[0] != &want[to][0] {
			t.Errorf("container %d does not get what %d sends", to, i)
		}
		src, _ := netip.AddrFromSlice(f[ethLen+12 : ipDstAt])
		dst, _ := netip.AddrFromSlice(f[ipDstAt:udpAt])
		if src != tr.address(i) || dst != tr.address(to) || checksum(f[ethLen:udpAt]) != 0 {
			t.Errorf("container %d sends from %v to %v, checksum left over %#x", i, src, dst, checksum(f[ethLen:udpAt]))
		}
	}
}

func TestAddressesAreDistinct(t *testing.T) {
	for _, random := range []bool{false, true} {
		tr := testTraffic()
		tr.Random, tr.ByMAC = random, true
		addrs, macs := map[netip.Addr]bool{}, map[[6]byte]bool{}
		for i := range tr.Containers {
			addrs[tr.address(i)], macs[tr.mac(i)] = true, true
		}
		if len(addrs) != tr.Containers || len(macs) != tr.Containers {
			t.Errorf("random=%v: %d addresses and %d MACs for %d containers", random, len(addrs), len(macs), tr.Containers)
		}
		for a := range addrs {
			if !netip.MustParsePrefix("10.0.0.0/8").Contains(a) || a == sourceAddr() {
				t.Errorf("random=%v: address %v", random, a)
			}
		}
	}
}

// TestCheckerSeesEveryByte: the checker takes each frame as it was sent, and
// not with any one byte of it changed, cut short, or for another container.
func TestCheckerSeesEveryByte(t *testing.T) {
	tr := testTraffic()
	tr.Random, tr.ByMAC = true, true
	c := newChecker(tr)
	for _, size := range []int{60, 590, maxFrame} {
		for _, i := range []int{0, 300, 9999} {
			data := tr.frame(i, size)
			if !c.frame(i, data) || !c.payload(i, data[payloadAt:]) {
				t.Fatalf("a good frame of %d bytes for container %d is refused", size, i)
			}
			for at := range data {
				data[at] ^= 0x10
				if c.frame(i, data) {
					t.Errorf("byte %d of %d was changed unseen", at, size)
				}
				if at >= payloadAt && c.payload(i, data[payloadAt:]) {
					t.Errorf("byte %d of %d of the payload was changed unseen", at, size)
				}
				data[at] ^= 0x10
			}
			if c.frame(i, data[:size-1]) || c.frame(i+1, data) || c.payload(i+1, data[payloadAt:]) {
				t.Errorf("frame of %d bytes for container %d: cut short or for another, unseen", size, i)
			}
		}
	}
}

func TestCheckerAllocatesNothing(t *testing.T) {
	tr := testTraffic()
	c, data := newChecker(tr), tr.frame(7, 590)
	if n := testing.AllocsPerRun(100, func() { c.frame(7, data) }); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func TestUniformOrderReachesAllEquallyOften(t *testing.T) {
	tr := testTraffic()
	for _, n := range []int{1, 100, 1000, 10000} {
		tr.Containers = n
		order := tr.order()
		if len(order)&(len(order)-1) != 0 {
			t.Fatalf("%d containers: the order has %d entries, no power of two", n, len(order))
		}
		counts := make([]int, n)
		for _, i := range order {
			counts[i]++
		}
		for i, k := range counts {
			if k < len(order)/n || k > len(order)/n+1 {
				t.Fatalf("of %d containers number %d has %d of %d frames", n, i, k, len(order))
			}
		}
	}
}

// TestZipfOrder: the most frequent container of 1,000 has 1/H(1000) of all, and
// the second about half of that; the order is the same each time.
func TestZipfOrder(t *testing.T) {
	tr := testTraffic()
	tr.Containers, tr.Zipf = 1000, true
	order := tr.order()
	counts := make([]int, tr.Containers)
	for _, i := range order {
		counts[i]++
	}
	first, second := 0, 0
	for _, k := range counts {
		if k > first {
			first, second = k, first
		} else if k > second {
			second = k
		}
	}
	const harmonic = 7.485 // H(1000)
	want := float64(len(order)) / harmonic
	if r := float64(first) / want; r < 0.95 || r > 1.05 {
		t.Errorf("the first has %d frames, want about %.0f", first, want)
	}
	if r := float64(second) / want; r < 0.45 || r > 0.55 {
		t.Errorf("the second has %d frames, want about %.0f", second, want/2)
	}
	again := tr.order()
	for i := range order {
		if order[i] != again[i] {
			t.Fatal("two orders differ")
		}
	}
}
