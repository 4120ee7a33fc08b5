package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// port of the TCP servers in the containers.
const tcpPort = 8080

// pacing of the TCP streams: a burst now and then, so that the table moves and
// the machine stays usable.
const (
	burst = 256 << 10
	pause = 50 * time.Millisecond
)

// talk starts the traffic: the wire and the containers ping each other, and
// TCP streams flow into each container.
func (d *demo) talk(ctx context.Context) error {
	d.say("\ntraffic: the wire pings and streams to each container, containers and host ping each other")
	for _, p := range [][2]string{
		{"wire", "10.77.1.1"}, {"wire", "10.77.1.2"}, {"wire", "10.77.1.3"}, {"wire", "fd77::1:1"},
		{"web", "10.77.1.2"}, {"web", "fd77::1:2"}, {"db", "10.77.1.3"}, {"vm", "10.77.0.1"},
		{"host", "10.77.1.1"}, {"db", "10.77.0.2"},
	} {
		if err := d.ping(p[0], p[1]); err != nil {
			return err
		}
	}
	for _, name := range []string{"web", "db", "vm"} {
		if err := d.stream(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) ping(from, to string) error {
	cmd := child("nsenter", "--net="+d.path(from), "ping", "-n", "-q", "-i", "0.02", to)
	if err := cmd.Start(); err != nil {
		return err
	}
	d.undo.Push("a ping", func() error {
		err := cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // its exit code tells of a lost packet, of which the table tells as well
		if errors.Is(err, os.ErrProcessDone) {
			return nil
		}
		return err
	})
	return nil
}

// stream serves TCP in the container and has the wire send to it.
func (d *demo) stream(ctx context.Context, name string) error {
	addr, err := d.addressOf(name)
	if err != nil {
		return err
	}
	var listener net.Listener
	if err := d.inside(name, func() (err error) {
		listener, err = net.Listen("tcp", addr)
		return err
	}); err != nil {
		return err
	}
	go sink(listener)
	var conn net.Conn
	err = d.inside("wire", func() (err error) {
		conn, err = (&net.Dialer{Timeout: 15 * time.Second}).DialContext(ctx, "tcp", addr)
		return err
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	d.undo.Push("a stream", func() error { return errors.Join(conn.Close(), listener.Close()) })
	go source(conn)
	return nil
}

func (d *demo) addressOf(name string) (string, error) {
	for _, s := range containers() {
		if s.Name == name {
			return netip.AddrPortFrom(s.IPs[0].Addr(), tcpPort).String(), nil
		}
	}
	return "", errors.New("no container " + strconv.Quote(name))
}

// inside runs fn in one of the demo's namespaces.
func (d *demo) inside(name string, fn func() error) error {
	ns, err := netns.Open(d.path(name))
	if err != nil {
		return err
	}
	defer ns.Close()
	return ns.Do(fn)
}

// sink reads one connection to its end.
func sink(l net.Listener) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.Copy(io.Discard, conn)
}

// source writes until the connection is closed.
func source(conn net.Conn) {
	data := make([]byte, burst)
	for {
		if _, err := conn.Write(data); err != nil {
			return
		}
		time.Sleep(pause)
	}
}
