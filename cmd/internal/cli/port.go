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
is meant.

With --kind tap, the default, the container gets an interface in its netns. With
--kind memif it needs none: a program in it opens the socket whose path add
prints, and shares memory with the daemon (memif 2.0: DPDK, VPP, libmemif, Go). Its
directory is RUN_DIR/NIC/NAME: mount that into the container, writable, and give
it to the program's user with --uid and --gid. With -o json, "endpoint" is all
that the program needs to configure itself.`

func (a *app) add() *cobra.Command {
	var e config.Entry
	var spec api.PortSpec
	cmd := &cobra.Command{
		Use:   "add NAME --ip CIDR[,CIDR…]",
		Short: "Add a container",
		Long:  addLong,
		Example: `  xdpdemux add web1 --ip 10.0.0.5/24,2001:db8::5/64 --gateway 10.0.0.1 --netns web1
  xdpdemux add vm7 --ip 10.0.0.7/24 --mac 02:00:00:00:00:07 --vlan 20 --netns 4711 --ifname eth1
  xdpdemux add fast1 --ip 10.0.0.8/24 --kind memif --uid 65534 --gid 65534 --rings 2`,
		Args: exactly(1, "the name of the port"),
		PreRunE: func(cmd *cobra.Command, args []string) (err error) {
			e.Name = args[0]
			spec, err = a.typed(cmd, &e)
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
	f.StringVar(&e.Kind, "kind", api.KindTAP, "`kind` of queue: tap or memif")
	f.StringVar(&e.NetNS, "netns", "", "network namespace of the interface: a `path`, a PID or a name under /run/netns")
	f.StringVar(&e.IfName, "ifname", "", "`name` of the interface in the netns (default eth0)")
	a.complete(cmd, "kind", words(api.KindTAP, api.KindMemif))
	memifFlags(cmd, &e)
	return a.asks(cmd)
}

// memifFlags are those of add that only kind memif has.
func memifFlags(cmd *cobra.Command, e *config.Entry) {
	f := cmd.Flags()
	f.IntVar(&e.Rings, "rings", 0, "memif: `number` of rings in each direction, at most one a worker (default 1)")
	f.IntVar(&e.RingSize, "ring-size", 0, "memif: the most `slots` of a ring, a power of two (default 1024)")
	f.IntVar(&e.BufferSize, "buffer-size", 0, "memif: `bytes` of memory that the client may bring for each slot (default 2048)")
	f.StringVar(&e.SecretFile, "secret-file", "", "memif: `file` with the secret that the client must say, up to 23 bytes")
	f.IntVar(&e.UID, "uid", 0, "memif: `number` of the user who may connect (default: the daemon's)")
	f.IntVar(&e.GID, "gid", 0, "memif: `number` of the group that may (default: the daemon's)")
	f.StringVar(&e.Abstract, "abstract", "", "memif: `name` of an abstract socket in the netns, or the daemon's own, in place of a path")
	f.BoolVar(&e.AllowUnsealed, "allow-unsealed", false, "memif: let the client bring memory that it could cut short, as DPDK's zero-copy does")
}

// typed reads the flags of add before the daemon is asked anything.
func (a *app) typed(cmd *cobra.Command, e *config.Entry) (api.PortSpec, error) {
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
	if err := e.ReadSecret(a.env.ReadFile); err != nil {
		return api.PortSpec{}, err
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
			if e := ports[i].Endpoint; e != nil {
				fmt.Fprintf(w, "socket: %s\n", socket(e))
			}
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
interface itself (kind, MAC, VLAN, netns, name, and all that only memif has) cannot
be set: del and add the port for that.
A new depth is the exception: while the kernel changes it, for some microseconds,
what the container itself sends is dropped and counted by its interface.`,
		Example: `  xdpdemux set web1 --ip 10.0.0.5/24,10.0.0.6/24
  xdpdemux set web1 --mtu 9000 --depth 4096`,
		Args: exactly(1, "the name of the port"),
		PreRunE: func(cmd *cobra.Command, args []string) (err error) {
			if err = areNames(cmd, args); err == nil {
				patch, err = patchOf(cmd, &e)
			}
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
		Use:     "del NAME…",
		Short:   "Remove containers",
		Long:    "Del removes ports and the interfaces that were made for them: all that are named, or none if one does not exist.",
		Args:    atLeast(1, "names of ports"),
		PreRunE: areNames,
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

// areNames says whether all operands could be names of ports.
func areNames(_ *cobra.Command, args []string) error {
	for _, name := range args {
		if err := api.ValidateName(name); err != nil {
			return err
		}
	}
	return nil
}
