package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

func (a *app) ls() *cobra.Command {
	return a.asks(&cobra.Command{
		Use:   "ls",
		Short: "List the ports: name, kind, identity, place, state",
		Args:  exactly(0, "none"),
		RunE: a.ask(func(ctx context.Context, c *control.Client, _ []string) error {
			ports, err := c.Ports(ctx)
			if err != nil {
				return err
			}
			return a.show(api.PortList{Ports: ports}, func(w io.Writer) { portTable(w, ports) })
		}),
	})
}

func portTable(w io.Writer, ports []api.Port) {
	rows := [][]string{{"NAME", "KIND", "IDENTITY", "NETNS", "INTERFACE", "STATE", "PEER"}}
	for i := range ports {
		p := &ports[i]
		rows = append(rows, []string{p.Name, p.Kind, identity(p), dash(p.NetNS), dash(p.IfName), stateOf(p), peer(p)})
	}
	columns(w, rows)
}

// shown is how many addresses of a port a line of a table holds.
const shown = 3

// identity says in a few words which frames are the port's.
func identity(p *api.Port) string {
	var all []string
	for _, ip := range p.IPs {
		all = append(all, ip.String())
	}
	for _, prefix := range p.Prefixes {
		all = append(all, "all of "+prefix.String())
	}
	if len(all) > shown {
		all = append(all[:shown], fmt.Sprintf("+%d more", len(all)-shown))
	}
	s := strings.Join(all, ", ")
	if !p.IPIdentity() {
		s = p.MAC.String() + " " + s
	}
	if p.VLAN != 0 {
		s = fmt.Sprintf("VLAN %d %s", p.VLAN, s)
	}
	return s
}

// peer says who is at the other end of a port that has a socket.
func peer(p *api.Port) string {
	switch c := p.Client; {
	case c != nil:
		return fmt.Sprintf("%s, pid %d, uid %d, %s of %d, %s", c.Name, c.PID, c.UID,
			plural(c.Rings, "ring"), c.RingSize, plural(c.Regions, "region"))
	case p.Endpoint == nil:
		return "-"
	case p.LastDisconnect != "":
		return fmt.Sprintf("nobody (%s)", p.LastDisconnect)
	}
	return "nobody"
}

// socket is the place of an endpoint as people write it.
func socket(e *api.Endpoint) string {
	if e.Abstract {
		return "@" + e.SocketPath
	}
	return e.SocketPath
}

func stateOf(p *api.Port) string {
	if p.Error == "" {
		return string(p.State)
	}
	return fmt.Sprintf("%s (%s)", p.State, p.Error)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
