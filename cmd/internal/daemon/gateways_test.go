package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestGatewayComesAndGoes: whoever has a gateway's address, the wire, a port,
// another port or the host, the container's permanent neighbour says so.
func TestGatewayComesAndGoes(t *testing.T) {
	rig := nictest.New(t, nictest.Config{Containers: 2, HostAddrs: []string{"10.9.0.2/16"}, WireAddrs: []string{"10.9.0.1/16", "10.9.0.254/16"}})
	p := newPuppets(t, rig)
	pup := p.start()
	pup.must(order{Do: "attach"})
	user := plain(rig, "1")
	user[0].Gateways = []netip.Addr{netip.MustParseAddr("10.9.0.254")}
	pup.must(order{Do: "add", Specs: user})
	requireGateway := func(when string, want [6]byte) {
		t.Helper()
		nictest.Eventually(t, "the gateway's MAC "+when, func() bool {
			out := rig.Containers[0].Run(t, "ip", "neigh", "show", "10.9.0.254")
			return strings.Contains(out, fmt.Sprintf("lladdr %v PERMANENT", net.HardwareAddr(want[:])))
		})
	}
	wire := rig.Wire.MAC(t, rig.WireNIC)
	requireGateway("on the wire", wire)
	rig.Wire.Run(t, "ip", "addr", "del", "10.9.0.254/16", "dev", rig.WireNIC)
	for _, last := range []byte{8, 9} {
		router := plain(rig, "1", "0")[1:]
		router[0].IPs, router[0].MAC = prefixes("10.9.0.254/16"), api.MAC{2, 0, 0, 0, 9, last}
		pup.must(order{Do: "apply", Specs: append(user, router...)})
		requireGateway("of a port", router[0].MAC)
	}
	pup.must(order{Do: "delete", Name: "b"})
	rig.Host.Run(t, "ip", "addr", "add", "10.9.0.254/32", "dev", rig.NIC)
	requireGateway("of the host", rig.Host.MAC(t, "xdmx0"))
	rig.Host.Run(t, "ip", "addr", "del", "10.9.0.254/32", "dev", rig.NIC)
	rig.Wire.Run(t, "ip", "addr", "add", "10.9.0.254/16", "dev", rig.WireNIC)
	requireGateway("on the wire again", wire)
	pup.must(order{Do: "detach"})
}
