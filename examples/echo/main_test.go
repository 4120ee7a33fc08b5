package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"go.uber.org/goleak"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues/memif"
	"github.com/xdpdemux/xdpdemux/queues/memif/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

// container is a port as the daemon would have it.
type container struct {
	name, ip string
	mac      net.HardwareAddr
	queue    *memif.Queue
}

// containers are n ports, and what xdpdemux would print of them.
func containers(t *testing.T, n int) ([]container, string) {
	t.Helper()
	s, err := memif.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	dir := t.TempDir()
	var all []container
	var ports []any
	for i := range n {
		c := container{name: fmt.Sprintf("c%d", i), ip: fmt.Sprintf("10.0.1.%d", i), mac: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}}
		c.queue, err = s.Open(memif.Config{Directory: filepath.Join(dir, c.name), UID: -1, GID: -1, RingSize: 16, Secret: "s3cret"})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		ports = append(ports, map[string]any{"name": c.name, "endpoint": map[string]any{
			"socketPath": c.queue.SocketPath(), "secretRequired": true, "mac": c.mac.String(),
			"ips": []string{c.ip + "/24"}, "mtu": 1500, "rings": 1, "ringSize": 16, "bufferSize": 2048}})
	}
	text, err := json.Marshal(map[string]any{"ports": ports})
	if err != nil {
		t.Fatal(err)
	}
	return all, string(text)
}

// TestManyContainersInOneProcess: each of them answers for itself.
func TestManyContainersInOneProcess(t *testing.T) {
	all, printed := containers(t, 100)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	told, ready := io.Pipe()
	ended := make(chan error, 1)
	var log bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"--secret-file", secret, "-"}, strings.NewReader(printed), ready, &log)
		ready.Close()
	}()
	line := make([]byte, 100)
	if n, err := told.Read(line); err != nil || string(line[:n]) != "ready: 100 connected\n" {
		t.Fatalf("it said %q, %v", line[:n], err)
	}
	for _, c := range all {
		in, out := ip4("10.0.1.250", c.ip, layers.IPProtocolUDP), ip4(c.ip, "10.0.1.250", layers.IPProtocolUDP)
		ask := build(t, eth(them, c.mac, layers.EthernetTypeIPv4), in, udp(in, 5000, 7), payload(100))
		want := build(t, eth(c.mac, them, layers.EthernetTypeIPv4), out, udp(out, 7, 5000), payload(100))
		compare(t, c.name, exchange(t, ctx, c.queue, ask), want)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if log.Len() > 0 {
		t.Errorf("it complained: %s", log.String())
	}
}

func exchange(t *testing.T, ctx context.Context, q *memif.Queue, f []byte) []byte {
	t.Helper()
	if n, why := q.Lane(0).Deliver([]frame.Frame{{Data: f}}); n != 1 {
		t.Fatalf("not delivered: %v", why)
	}
	answer := []frame.Frame{{Data: make([]byte, 2048)}}
	for q.Lane(0).Collect(answer, 2048) == 0 {
		if ctx.Err() != nil {
			t.Fatal("no answer")
		}
		time.Sleep(50 * time.Microsecond)
	}
	return answer[0].Data
}

func TestFlags(t *testing.T) {
	o, files, err := parse([]string{"--socket", "@s", "--mac", "02:00:00:00:00:08", "--ip", "10.0.0.8/24,fe80::8/64", "--mtu", "9000"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	all, err := gather(o, files, nil)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	e := all[0]
	if e.Socket != "@s" || !bytes.Equal(e.MAC, us) || len(e.IPs) != 2 || e.MTU != 9000 || e.Config("") != (client.Config{
		Socket: "@s", Rings: 1, RingSize: 1024, BufferSize: 2048}) {
		t.Errorf("%+v", e)
	}
}

func TestBadInput(t *testing.T) {
	_, printed := containers(t, 1)
	for _, c := range []struct {
		args, stdin, why string
	}{
		{"", "", "no endpoint: give a FILE"},
		{"-", "", "no port of kind memif"},
		{"-", "NAME STATE", "not what xdpdemux prints"},
		{"-", printed, "c0: the port wants a secret"},
		{"/none", "", "/none: no such file"},
		{"--secret-file /none -", "", "no such file"},
		{"--socket s -", "", "give one of them"},
		{"--socket s --mac 02:00 --ip 10.0.0.8/24", "", `--mac "02:00": give an Ethernet address`},
		{"--socket s --mac 02:00:00:00:00:08 --ip 10.0.0.8", "", "with the length of their prefix"},
		{"--socket s --mac 02:00:00:00:00:08", "", `--ip ""`},
		{"--socket s --mac 02:00:00:00:00:08 --ip 10.0.0.8/24 --mtu 20", "", "--mtu 20"},
		{"--socket s --mac 02:00:00:00:00:08 --ip 10.0.0.8/24 --ring-size 9", "", "ring size 9"},
		{"--udp 70000 -", "", "--udp 70000"},
		{"--what", "", "not defined"},
	} {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		err := run(ctx, strings.Fields(c.args), strings.NewReader(c.stdin), io.Discard, io.Discard)
		stop()
		if err == nil || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", c.args, err, c.why)
		}
	}
}
