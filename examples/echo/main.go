// Echo answers ARP, Neighbour Discovery, pings of IPv4 and IPv6, and UDP sent to
// one port, on any number of memif sockets at once. It needs no privilege, no
// network device and no network namespace.
//
// On the host that runs xdpdemux:
//
//	xdpdemux add a --kind memif --ip 10.0.0.8/24 --uid 65534 -o json > a.json
//	setpriv --reuid 65534 --regid 65534 --clear-groups echo a.json
//
// With many ports, `xdpdemux ls -o json | echo -` serves all of them from one
// process. Without xdpdemux the same is said in flags:
//
//	echo --socket /run/memif.sock --mac 02:00:00:00:00:08 --ip 10.0.0.8/24
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

const usage = `usage: echo FILE...                               FILE is what xdpdemux add or ls printed with -o json, - is standard input
       echo --socket PATH --mac MAC --ip CIDR[,CIDR]  one endpoint, in flags

Answers ARP, Neighbour Discovery, ping and UDP on the memif sockets that it is told of, until it is interrupted.
`

// options are the flags.
type options struct {
	endpoint client.Endpoint
	mac, ips string
	secret   string
	port     uint
	polling  bool
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	o, files, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	secret, err := readSecret(o.secret)
	if err != nil {
		return err
	}
	endpoints, err := gather(o, files, stdin)
	if err != nil {
		return err
	}
	s := server{port: uint16(o.port), polling: o.polling, out: stdout, log: stderr, total: len(endpoints)}
	return s.serve(ctx, endpoints, secret)
}

func parse(args []string, stderr io.Writer) (o options, files []string, err error) {
	f := flag.NewFlagSet("echo", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.endpoint.Socket, "socket", "", "`path` of the server's socket, or @name of an abstract one")
	f.StringVar(&o.mac, "mac", "", "`address` to answer from")
	f.StringVar(&o.ips, "ip", "", "`CIDR`s to answer for, separated by commas")
	f.IntVar(&o.endpoint.MTU, "mtu", 1500, "largest packet in `bytes`")
	f.IntVar(&o.endpoint.Rings, "rings", client.DefaultRings, "`number` of rings in each direction")
	f.IntVar(&o.endpoint.RingSize, "ring-size", client.DefaultRingSize, "`slots` of a ring, a power of two")
	f.IntVar(&o.endpoint.BufferSize, "buffer-size", client.DefaultBufferSize, "`bytes` of a slot")
	f.StringVar(&o.secret, "secret-file", "", "`file` with the secret that the server wants")
	f.UintVar(&o.port, "udp", 7, "UDP `port` to echo")
	f.BoolVar(&o.polling, "poll", false, "never sleep: the smallest latency, and a whole processor for each ring")
	err = f.Parse(args)
	if err == nil && o.port > 65535 {
		err = fmt.Errorf("--udp %d: a port is 0 to 65535", o.port)
	}
	return o, f.Args(), err
}

func readSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	return strings.TrimRight(string(b), "\r\n"), err
}

// gather finds the endpoints in flags or in files.
func gather(o options, files []string, stdin io.Reader) (all []client.Endpoint, err error) {
	switch {
	case o.endpoint.Socket != "" && len(files) > 0:
		return nil, errors.New("--socket and a FILE: give one of them")
	case o.endpoint.Socket != "":
		return inFlags(o)
	case len(files) == 0:
		return nil, errors.New("no endpoint: give a FILE that xdpdemux printed with -o json, or --socket, --mac and --ip")
	}
	for _, name := range files {
		more, err := inFile(name, stdin)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, more...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: no port of kind memif", strings.Join(files, ", "))
	}
	return all, nil
}

func inFile(name string, stdin io.Reader) ([]client.Endpoint, error) {
	if name == "-" {
		return client.ReadEndpoints(stdin)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	return client.ReadEndpoints(f)
}

func inFlags(o options) ([]client.Endpoint, error) {
	e := o.endpoint
	e.Name = e.Socket
	var err error
	if e.MAC, err = net.ParseMAC(o.mac); err != nil || len(e.MAC) != 6 {
		return nil, fmt.Errorf("--mac %q: give an Ethernet address, such as 02:00:00:00:00:08", o.mac)
	}
	if e.MTU < 68 || e.MTU > 65521 {
		return nil, fmt.Errorf("--mtu %d: 68 to 65521 are possible", e.MTU)
	}
	for cidr := range strings.SplitSeq(o.ips, ",") {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("--ip %q: give addresses with the length of their prefix, such as 10.0.0.8/24", cidr)
		}
		e.IPs = append(e.IPs, p)
	}
	return []client.Endpoint{e}, nil
}
