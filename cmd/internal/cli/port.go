package cli

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

// changeable are the flags that add and set share.
func changeable(cmd *cobra.Command, e *config.Entry) {
	f := cmd.Flags()
	f.StringSliceVar(&e.IPs, "ip", nil, "`CIDR` of an address to own and to configure; 10.0.0.5/24 owns 10.0.0.5 and has 10.0.0.0/24 on-link")
	f.StringSliceVar(&e.Prefixes, "prefix", nil, "`CIDR` to own whole, as a router does; nothing of it is configured")
	f.StringSliceVar(&e.Gateways, "gateway", nil, "`address` of the default next hop, one of each family")
	f.IntVar(&e.MTU, "mtu", 0, "MTU in `bytes` (default: that of the NIC)")
	f.IntVar(&e.Depth, "depth", 0, "length of the queue in `frames` (default: that of the kind)")
	f.BoolVar(&e.NoSourceCheck, "no-source-check", false, "let the container send from addresses that are not its own")
}

const addLong = `Add makes a port: a container's place on the NIC. Without --mac it is an IP
identity and shares the NIC's MAC; with --mac it is a machine of its own on the
wire.

An --ip is an address with the length of its on-link prefix: the container owns
that one address, and its interface bears it. A --prefix is owned whole, every
address of it, and configured nowhere: for a container that routes. --ip refuses
the address of a network, such as 10.1.0.0/24; say --prefix 10.1.0.0/24 if that
is meant.`

func (a *app) add() *cobra.Command {
	var e config.Entry
	var spec api.PortSpec
	cmd := &cobra.Command{
		Use:   "add NAME --ip CIDR[,CIDR…]",
		Short: "Add a container",
		Long:  addLong,
		Example: `  xdpdemux add web1 --ip 10.0.0.5/24,2001:db8::5/64 --gateway 10.0.0.1 --netns web1
  xdpdemux add vm7 --ip 10.0.0.7/24 --mac 02:00:00:00:00:07 --vlan 20 --netns 4711 --ifname eth1`,
		Args: exactly(1, "the name of the port"),
		PreRunE: func(cmd *cobra.Command, args []string) (err error) {
			e.Name = args[0]
			spec, err = typed(cmd, &e)
			return err
		},
		RunE: a.ask(func(ctx context.Context, c *control.Client, _ []string) error {
			ports, err := c.Add(ctx, []api.PortSpec{spec})
			if err != nil {
				return err
			}
			return a.show(api.PortList{Ports: ports}, portLines(ports))
		}),
	}
	changeable(cmd, &e)
	f := cmd.Flags()
	f.StringVar(&e.MAC, "mac", "", "own `MAC` address (default: share the NIC's)")
	f.IntVar(&e.VLAN, "vlan", 0, "VLAN `identifier` on the wire, 1 to 4094 (default: untagged)")
	f.StringVar(&e.Kind, "kind", api.KindTAP, "`kind` of queue: tap")
	f.StringVar(&e.NetNS, "netns", "", "network namespace: a `path`, a PID or a name under /run/netns")
	f.StringVar(&e.IfName, "ifname", "", "`name` of the interface in the netns (default eth0)")
	a.complete(cmd, "kind", words(api.KindTAP))
	return a.asks(cmd)
}

// typed reads the flags of add before the daemon is asked anything.
func typed(cmd *cobra.Command, e *config.Entry) (api.PortSpec, error) {
	if cmd.Flags().Changed("vlan") && e.VLAN == 0 {
		return api.PortSpec{}, usage("give 1 to 4094, or leave --vlan out for untagged frames", "port %s: VLAN 0: it is out of range", e.Name)
	}
	if strings.Contains(e.NetNS, "/") {
		path, err := filepath.Abs(e.NetNS)
		if err != nil {
			return api.PortSpec{}, err
		}
		e.NetNS = path
	}
	spec, err := e.Spec()
	if err != nil {
		return spec, err
	}
	return spec, spec.Validate()
}

func portLines(ports []api.Port) func(io.Writer) {
	return func(w io.Writer) {
		for i := range ports {
			fmt.Fprintf(w, "port %s: %s: %s\n", ports[i].Name, stateOf(&ports[i]), identity(&ports[i]))
		}
	}
}

func (a *app) set() *cobra.Command {
	var e config.Entry
	var patch api.Patch
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a container's addresses, MTU, depth or policy",
		Long: `Set changes a port without losing a frame of it. What is not named stays; a list
that is named replaces the old one, and --gateway "" empties it. What makes the
interface itself (kind, MAC, VLAN, netns, name) cannot be set: del and add the
port for that.
A new depth is the exception: while the kernel changes it, for some microseconds,
what the container itself sends is dropped and counted by its interface.`,
		Example: `  xdpdemux set web1 --ip 10.0.0.5/24,10.0.0.6/24
  xdpdemux set web1 --mtu 9000 --depth 4096`,
		Args: exactly(1, "the name of the port"),
		PreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			patch, err = patchOf(cmd, &e)
			return err
		},
		RunE: a.ask(func(ctx context.Context, c *control.Client, args []string) error {
			port, err := c.Set(ctx, args[0], patch)
			if err != nil {
				return err
			}
			return a.show(port, portLines([]api.Port{port}))
		}),
	}
	changeable(cmd, &e)
	cmd.ValidArgsFunction = a.portNames
	return a.asks(cmd)
}

// patchOf holds what was given on the command line, and nothing else.
func patchOf(cmd *cobra.Command, e *config.Entry) (p api.Patch, err error) {
	if p.IPs, err = given(cmd, "ip", e.IPs, config.ParseIPs); err != nil {
		return p, err
	}
	if p.Prefixes, err = given(cmd, "prefix", e.Prefixes, config.ParsePrefixes); err != nil {
		return p, err
	}
	if p.Gateways, err = given(cmd, "gateway", e.Gateways, config.ParseGateways); err != nil {
		return p, err
	}
	p.MTU = changed(cmd, "mtu", &e.MTU)
	p.Depth = changed(cmd, "depth", &e.Depth)
	p.NoSourceCheck = changed(cmd, "no-source-check", &e.NoSourceCheck)
	if p.Empty() {
		return p, usage("see xdpdemux set --help", "set: nothing to change was named")
	}
	return p, nil
}

// given parses a list that was named; an empty one is not nil.
func given[T any](cmd *cobra.Command, flag string, list []string, parse func([]string) ([]T, error)) (*[]T, error) {
	if !cmd.Flags().Changed(flag) {
		return nil, nil
	}
	values, err := parse(list)
	if values == nil {
		values = []T{}
	}
	return &values, err
}

func changed[T any](cmd *cobra.Command, flag string, v *T) *T {
	if !cmd.Flags().Changed(flag) {
		return nil
	}
	return v
}

func (a *app) del() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "del NAME…",
		Short: "Remove containers",
		Long:  "Del removes ports and the interfaces that were made for them: all that are named, or none if one does not exist.",
		Args:  atLeast(1, "names of ports"),
		RunE: a.ask(func(ctx context.Context, c *control.Client, args []string) error {
			if err := c.Delete(ctx, args); err != nil {
				return err
			}
			return a.show(api.DeleteResult{Deleted: args}, func(w io.Writer) {
				for _, name := range args {
					fmt.Fprintf(w, "port %s: removed\n", name)
				}
			})
		}),
	}
	cmd.ValidArgsFunction = a.portNames
	return a.asks(cmd)
}
