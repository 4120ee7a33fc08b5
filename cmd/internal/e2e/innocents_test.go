package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// innocents are two namespaces that have nothing to do with the daemon, joined
// by a veth pair. One has many addresses, which the other finds as anybody
// does: with dynamic neighbours, of which the kernel allows 1,024 over all
// namespaces.
type innocents struct {
	ns      *nictest.NS
	targets []string
}

// acquaintances is how many neighbours the innocent has.
const acquaintances = 100

func newInnocents(t *testing.T, m *machine) *innocents {
	t.Helper()
	n := len(m.Containers)
	m.AddContainers(t, 2)
	a, b := m.Containers[n], m.Containers[n+1]
	a.Run(t, "ip", "link", "add", "left", "type", "veth", "peer", "name", "right", "netns", b.Name)
	a.Run(t, "ip", "addr", "add", "192.0.2.254/24", "dev", "left")
	a.Run(t, "ip", "addr", "add", "2001:db8::ffff/64", "dev", "left", "nodad")
	a.Run(t, "ip", "link", "set", "left", "up")
	in := &innocents{ns: a}
	for family, to := range map[string]string{"-4": "192.0.2.%d/24", "-6": "2001:db8::%x/64 nodad"} {
		var batch strings.Builder
		for i := range acquaintances {
			ip := fmt.Sprintf(to, i+1)
			fmt.Fprintf(&batch, "addr add %s dev right\n", ip)
			in.targets = append(in.targets, ip[:strings.Index(ip, "/")])
		}
		ipBatch(t, b, family, batch.String())
	}
	b.Run(t, "ip", "link", "set", "right", "up")
	return in
}

// ping requires that all neighbours are found, from the beginning.
func (in *innocents) ping(t *testing.T) {
	t.Helper()
	in.ns.Run(t, "ip", "neigh", "flush", "all")
	in.ns.Run(t, "ip", "-6", "neigh", "flush", "all")
	args := append([]string{"-r", "2", "-t", "1000", "-i", "1", "-u"}, in.targets...)
	if out, err := in.ns.Try("fping", args...); err != nil {
		t.Errorf("an innocent namespace does not find its neighbours: %v\n%s", err, out)
	}
}
