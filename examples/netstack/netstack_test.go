package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/demux/frame"
	"github.com/xdpdemux/xdpdemux/queues"
	"github.com/xdpdemux/xdpdemux/queues/memif"
)

const patience = 2 * time.Minute

// wire joins the containers a and b, as the daemon would, and returns what it
// would print of each.
func wire(t *testing.T, mtu int) (a, b string) {
	t.Helper()
	s, err := memif.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var texts []string
	var lanes []queues.Lane
	for i := range 2 {
		q, err := s.Open(memif.Config{Directory: filepath.Join(dir, fmt.Sprint(i)), UID: -1, GID: -1, MaxFrame: mtu + 14})
		if err != nil {
			t.Fatal(err)
		}
		lanes = append(lanes, q.Lane(0))
		text, err := json.Marshal(map[string]any{"ports": []any{map[string]any{"name": "c", "endpoint": map[string]any{
			"socketPath": q.SocketPath(), "mac": fmt.Sprintf("02:00:00:00:00:0%d", i+1), "mtu": mtu,
			"ips":      []string{fmt.Sprintf("10.0.0.%d/24", i+1), fmt.Sprintf("2001:db8::%d/64", i+1)},
			"gateways": []string{"10.9.9.9"}, "linkLocal": fmt.Sprintf("fe80::%d", i+1)}}}})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	ctx, stop := context.WithCancel(context.Background())
	var side sync.WaitGroup
	side.Go(func() { carry(ctx, lanes[0], lanes[1]) })
	side.Go(func() { carry(ctx, lanes[1], lanes[0]) })
	t.Cleanup(func() {
		stop()
		side.Wait()
		s.Close()
	})
	return texts[0], texts[1]
}

// carry brings frames from one lane to the other, and drops what finds no room.
func carry(ctx context.Context, from, to queues.Lane) {
	room := make([][]byte, batch)
	for i := range room {
		room[i] = make([]byte, 1<<16)
	}
	list := make([]frame.Frame, batch)
	for ctx.Err() == nil {
		for i := range list {
			list[i].Data = room[i]
		}
		n := from.Collect(list, 1<<30)
		if n == 0 {
			time.Sleep(20 * time.Microsecond)
			continue
		}
		_, _ = to.Deliver(list[:n])
	}
}

// startServer runs serve until the test ends, and returns once it serves.
func startServer(t *testing.T, printed string, flags ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out, said := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, append(append([]string{"serve"}, flags...), "-"), strings.NewReader(printed), said, io.Discard)
		said.Close()
	}()
	line := make([]byte, 1000)
	if n, err := out.Read(line); err != nil || !strings.HasPrefix(string(line[:n]), "serving http://10.0.0.1:80/bytes/N") {
		t.Fatalf("it said %q, %v", line[:n], err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func get(t *testing.T, printed string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	last := len(args) - 1
	args = append([]string{"fetch", "--timeout", patience.String()}, append(args[:last:last], "-", args[last])...)
	var out bytes.Buffer
	err := run(ctx, args, strings.NewReader(printed), &out, io.Discard)
	return out.String(), err
}

// TestServeAndFetch: one stack serves, the other one fetches, over two memif
// queues. What comes is what was sent.
func TestServeAndFetch(t *testing.T) {
	for _, c := range []struct {
		url  string
		mtu  int
		size int64
	}{
		{"http://10.0.0.1/bytes/%d", 1500, 5_000_003},
		{"http://[2001:db8::1]/bytes/%d", 1500, 1_000_003},
		{"http://10.0.0.1/bytes/%d", 9000, 5_000_003},
	} {
		t.Run(fmt.Sprintf("MTU %d, %s", c.mtu, c.url), func(t *testing.T) {
			a, b := wire(t, c.mtu)
			startServer(t, a)
			file := filepath.Join(t.TempDir(), "got")
			out, err := get(t, b, "-o", file, fmt.Sprintf(c.url, c.size))
			if err != nil {
				t.Fatal(err)
			}
			t.Log(strings.TrimSpace(out))
			if !regexp.MustCompile(fmt.Sprintf(`^%d bytes in .* Mbit/s, sha-256=:.{44}:\n$`, c.size)).MatchString(out) {
				t.Errorf("it said %q", out)
			}
			got, err := os.ReadFile(file)
			if err != nil || int64(len(got)) != c.size || encode(sum(got)) != digest(c.size) {
				t.Errorf("%d bytes in the file, %v", len(got), err)
			}
		})
	}
}

func sum(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}

func TestFilesAndFailures(t *testing.T) {
	a, b := wire(t, 1500)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "page"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	startServer(t, a, "--root", root)
	if out, err := get(t, b, "http://10.0.0.1/files/page"); err != nil || !strings.HasPrefix(out, "5 bytes") || !strings.Contains(out, encode(sum([]byte("hello")))) {
		t.Errorf("%q, %v", out, err)
	}
	for url, why := range map[string]string{
		"http://10.0.0.1/files/none": "404",
		"http://10.0.0.1/bytes/-1":   "400",
		"http://10.0.0.1/bytes/x":    "400",
		"http://10.0.0.1:81/":        "refused",
		"http://example.org/":        "nobody to resolve names",
		"http://10.0.0.1:x/":         "invalid port",
	} {
		if out, err := get(t, b, url); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %q, %v, want %q", url, out, err, why)
		}
	}
}

// TestCounter: the bytes are the same however they are read.
func TestCounter(t *testing.T) {
	want := make([]byte, 4096)
	if _, err := io.ReadFull(&counter{}, want); err != nil {
		t.Fatal(err)
	}
	for _, step := range []int{1, 3, 7, 8, 9, 63} {
		c, got := &counter{}, []byte{}
		for len(got) < len(want) {
			b := make([]byte, min(step, len(want)-len(got)))
			n, _ := c.Read(b)
			got = append(got, b[:n]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("in steps of %d the bytes are others", step)
		}
	}
}

func TestBadInput(t *testing.T) {
	port := `{"ports":[{"name":"c","endpoint":{"socketPath":"s","mac":"02:00:00:00:00:01","mtu":%d,"secretRequired":%v}}]}`
	for _, c := range []struct{ args, stdin, why string }{
		{"", "", "say serve or fetch"},
		{"sing", "", "say serve or fetch"},
		{"fetch", "", "no URL"},
		{"fetch http://10.0.0.1/", "", "give one FILE"},
		{"serve", "", "give one FILE"},
		{"serve a b", "", "give one FILE"},
		{"serve -", "", "0 ports of kind memif"},
		{"serve -", fmt.Sprintf(port, 1500, true), "c: the port wants a secret"},
		{"serve -", fmt.Sprintf(port, 500, false), "an MTU of 500 bytes"},
		{"serve /none", "", "/none: no such file"},
		{"serve --port 0 -", "", "--port 0"},
		{"serve --socket s -", "", "give one of them"},
		{"serve --socket s --mac x --ip 10.0.0.1/24", "", `--mac "x"`},
		{"serve --socket s --mac 02:00:00:00:00:01 --ip 10.0.0.1", "", `--ip "10.0.0.1"`},
		{"serve --socket s --mac 02:00:00:00:00:01 --ip 10.0.0.1/24 --gateway x", "", `--gateway "x"`},
		{"serve --socket s --mac 02:00:00:00:00:01 --ip 10.0.0.1/24 --ring-size 9", "", "ring size 9"},
	} {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		err := run(ctx, strings.Fields(c.args), strings.NewReader(c.stdin), io.Discard, io.Discard)
		stop()
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.args, err, c.why)
		}
	}
}
