// Netstack runs gVisor's TCP/IP stack over a memif socket: a web server, or a
// web client, in a process that has no network device, no privilege, and may
// live in a network namespace of its own that is empty.
//
// On the host that runs xdpdemux:
//
//	xdpdemux add web --kind memif --ip 10.0.0.8/24 --gateway 10.0.0.1 --uid 65534 -o json > web.json
//	ip netns add nothing
//	ip netns exec nothing setpriv --reuid 65534 --regid 65534 --clear-groups netstack serve web.json
//
// and from anywhere on the wire: curl http://10.0.0.8/bytes/100000000
//
// It is a module of its own, so that who uses the memif client does not get
// gVisor with it.
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
	"time"

	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "netstack:", err)
		os.Exit(1)
	}
}

const usage = `usage: netstack serve [FLAGS] [FILE]      a web server, until it is interrupted
       netstack fetch [FLAGS] [FILE] URL  get a page, and compare its checksum

FILE is what xdpdemux add printed with -o json, - is standard input; or say --socket, --mac, --ip and --gateway.
`

// options are the flags of both commands.
type options struct {
	endpoint           client.Endpoint
	mac, ips, gateways string
	secret             string
	port               uint
	root               string
	output             string
	timeout            time.Duration
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "serve" && args[0] != "fetch" {
		fmt.Fprint(stderr, usage)
		return errors.New("say serve or fetch")
	}
	o, rest, err := parse(args[0], args[1:], stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	url := ""
	if args[0] == "fetch" {
		if len(rest) == 0 {
			return errors.New("fetch: no URL")
		}
		url, rest = rest[len(rest)-1], rest[:len(rest)-1]
	}
	if err := o.find(rest, stdin); err != nil {
		return err
	}
	n, err := o.open(stderr)
	if err != nil {
		return err
	}
	defer n.close()
	if url != "" {
		return fetch(ctx, n, url, o, stdout)
	}
	return serve(ctx, n, o, stdout)
}

func parse(command string, args []string, stderr io.Writer) (o options, rest []string, err error) {
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.endpoint.Socket, "socket", "", "`path` of the server's socket, or @name of an abstract one")
	f.StringVar(&o.mac, "mac", "", "Ethernet `address`")
	f.StringVar(&o.ips, "ip", "", "`CIDR`s to bear, separated by commas")
	f.StringVar(&o.gateways, "gateway", "", "default next hops, one of each family, separated by commas")
	f.IntVar(&o.endpoint.MTU, "mtu", 1500, "largest packet in `bytes`")
	f.IntVar(&o.endpoint.Rings, "rings", client.DefaultRings, "`number` of rings in each direction")
	f.IntVar(&o.endpoint.RingSize, "ring-size", client.DefaultRingSize, "`slots` of a ring, a power of two")
	f.IntVar(&o.endpoint.BufferSize, "buffer-size", client.DefaultBufferSize, "`bytes` of a slot")
	f.StringVar(&o.secret, "secret-file", "", "`file` with the secret that the server wants")
	if command == "serve" {
		f.UintVar(&o.port, "port", 80, "TCP `port` to listen on")
		f.StringVar(&o.root, "root", "", "serve this `directory` as well, under /files/")
	} else {
		f.StringVar(&o.output, "o", "", "write what was fetched to this `file`")
		f.DurationVar(&o.timeout, "timeout", time.Minute, "`time` for the connection and everything that comes over it")
	}
	if err = f.Parse(args); err != nil {
		return o, nil, err
	}
	if command == "serve" && (o.port < 1 || o.port > 65535) {
		err = fmt.Errorf("--port %d: a port is 1 to 65535", o.port)
	}
	return o, f.Args(), err
}

// find completes the endpoint from flags or from a file.
func (o *options) find(files []string, stdin io.Reader) error {
	switch {
	case o.endpoint.Socket != "" && len(files) > 0:
		return errors.New("--socket and a FILE: give one of them")
	case o.endpoint.Socket != "":
		return o.inFlags()
	case len(files) != 1:
		return errors.New("give one FILE that xdpdemux add printed with -o json, or --socket, --mac and --ip")
	}
	all, err := inFile(files[0], stdin)
	if err != nil {
		return fmt.Errorf("%s: %w", files[0], err)
	}
	if len(all) != 1 {
		return fmt.Errorf("%s: %d ports of kind memif, one is needed", files[0], len(all))
	}
	o.endpoint = all[0]
	return nil
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

func (o *options) inFlags() error {
	e := &o.endpoint
	e.Name = e.Socket
	var err error
	if e.MAC, err = net.ParseMAC(o.mac); err != nil || len(e.MAC) != 6 {
		return fmt.Errorf("--mac %q: give an Ethernet address, such as 02:00:00:00:00:08", o.mac)
	}
	for cidr := range strings.SplitSeq(o.ips, ",") {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			return fmt.Errorf("--ip %q: give addresses with the length of their prefix, such as 10.0.0.8/24", cidr)
		}
		e.IPs = append(e.IPs, p)
	}
	if o.gateways == "" {
		return nil
	}
	for text := range strings.SplitSeq(o.gateways, ",") {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("--gateway %q: give an address, such as 10.0.0.1", text)
		}
		e.Gateways = append(e.Gateways, ip)
	}
	return nil
}

// open starts the stack and its connection.
func (o *options) open(stderr io.Writer) (*node, error) {
	e := o.endpoint
	if e.MTU < 1280 || e.MTU > 65521 {
		return nil, fmt.Errorf("an MTU of %d bytes: 1280 to 65521 are possible", e.MTU)
	}
	secret := ""
	if o.secret != "" {
		b, err := os.ReadFile(o.secret)
		if err != nil {
			return nil, err
		}
		secret = strings.TrimRight(string(b), "\r\n")
	}
	if e.SecretRequired && secret == "" {
		return nil, fmt.Errorf("%s: the port wants a secret: give it with --secret-file", e.Name)
	}
	cfg := e.Config(secret)
	cfg.Name = "netstack"
	session, err := client.NewSession(client.SessionConfig{Config: cfg, Changed: func(ev client.Event) {
		if ev.Conn == nil && ev.Failures < 2 {
			fmt.Fprintf(stderr, "netstack: %v; trying again\n", ev.Err)
		}
	}})
	if err != nil {
		return nil, err
	}
	n, err := newNode(e, session)
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return n, nil
}
