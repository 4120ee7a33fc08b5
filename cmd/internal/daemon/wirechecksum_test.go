package daemon

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestUnfinishedChecksumsOfAVeth: the stack at the other end of a veth leaves its
// checksums unfinished. A container is reached by TCP from there all the same,
// unless the wire is to be trusted.
func TestUnfinishedChecksumsOfAVeth(t *testing.T) {
	for choice, works := range map[string]bool{config.ChecksumAuto: true, config.ChecksumTrust: false} {
		t.Run(choice, func(t *testing.T) {
			rig := nictest.New(t, nictest.Config{Containers: 2, WireOffloads: true,
				HostAddrs: []string{"10.9.0.2/16"}, WireAddrs: []string{"10.9.0.1/16"}})
			p := newPuppets(t, rig)
			p.cfg.WireChecksum = choice
			pup := p.start()
			pup.must(order{Do: "attach"})
			spec := specs(rig)[:1]
			spec[0].Gateways = nil
			pup.must(order{Do: "add", Specs: spec})
			serveEcho(t, rig.Containers[0], "10.9.1.1:7777")
			if err := echo(rig.Wire, "10.9.1.1:7777", works); (err == nil) != works {
				t.Errorf("by TCP: %v", err)
			}
			pup.must(order{Do: "detach"})
		})
	}
}

// serveEcho sends back what comes, until the test ends.
func serveEcho(t *testing.T, ns *nictest.NS, addr string) {
	t.Helper()
	var l net.Listener
	if err := ns.Do(func() (err error) { l, err = net.Listen("tcp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
}

// echo sends a text and wants it back. Where that shall not be it does not wait
// for long.
func echo(ns *nictest.NS, addr string, patient bool) error {
	patience := 3 * time.Second
	if patient {
		patience = 30 * time.Second
	}
	return ns.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, patience)
		if err != nil {
			return err
		}
		defer c.Close()
		const text = "a text whose length is odd"
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, text); err != nil {
			return err
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if string(got) != text {
			return errors.New(string(got) + " came back")
		}
		return nil
	})
}
