package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"
)

// serve is the web server, until ctx ends.
func serve(ctx context.Context, n *node, o options, stdout io.Writer) error {
	if _, err := n.session.Conn(ctx); err != nil {
		return nil // interrupted before there was anything to serve
	}
	srv := &http.Server{Handler: pages(o.root), ReadHeaderTimeout: 10 * time.Second}
	var running sync.WaitGroup
	defer running.Wait()
	failed := make(chan error, len(n.ips))
	for _, ip := range n.ips {
		l, err := n.listen(ip, uint16(o.port))
		if err != nil {
			return errors.Join(fmt.Errorf("listen on %v: %w", ip, err), srv.Close())
		}
		running.Go(func() { failed <- srv.Serve(l) })
		fmt.Fprintf(stdout, "serving http://%v/bytes/N\n", netip.AddrPortFrom(ip, uint16(o.port)))
	}
	select {
	case <-ctx.Done():
		return srv.Close()
	case err := <-failed:
		return errors.Join(err, srv.Close())
	}
}

// pages are /bytes/N, and with a root /files/.
func pages(root string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /bytes/{n}", countingPage)
	if root != "" {
		mux.Handle("GET /files/", http.StripPrefix("/files/", http.FileServer(http.Dir(root))))
	}
	return mux
}

// most is how large a page may be.
const most = 1 << 40

func countingPage(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 || n > most {
		http.Error(w, "a size is a number of bytes, such as /bytes/100000000", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	w.Header().Set("Repr-Digest", digest(n))
	if r.Method != http.MethodHead {
		_, _ = io.CopyN(w, &counter{}, n)
	}
}

// digest is the checksum of a page of n bytes, in the form of RFC 9530.
func digest(n int64) string {
	h := sha256.New()
	_, _ = io.CopyN(h, &counter{}, n)
	return encode(h.Sum(nil))
}

func encode(sum []byte) string { return "sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":" }

// counter yields bytes without end: each eight of them say where they stand, so
// no two parts of a page are alike.
type counter struct{ at uint64 }

// Read never fails.
func (c *counter) Read(b []byte) (int, error) {
	done := 0
	for len(b)-done >= 8 && c.at%8 == 0 {
		binary.BigEndian.PutUint64(b[done:], c.at)
		c.at += 8
		done += 8
	}
	if done == 0 && len(b) > 0 { // less than eight, or not at their start
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], c.at&^7)
		done = copy(b, word[c.at%8:])
		c.at += uint64(done)
	}
	return done, nil
}
