package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// fetch gets a page, says how fast it came, and compares its checksum where the
// server gave one.
func fetch(ctx context.Context, n *node, url string, o options, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if _, err := n.session.Conn(ctx); err != nil {
		return fmt.Errorf("no connection to %s: %w", o.endpoint.Socket, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: n.dial, DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	began := time.Now()
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	got, size, err := store(answer.Body, o.output)
	if err != nil {
		return fmt.Errorf("%s, after %d bytes: %w", url, size, err)
	}
	took := time.Since(began)
	fmt.Fprintf(stdout, "%d bytes in %.3f s, %.0f Mbit/s, %s\n",
		size, took.Seconds(), float64(size)*8/1e6/took.Seconds(), got)
	if want := answer.Header.Get("Repr-Digest"); want != "" && want != got {
		return fmt.Errorf("%s: the checksum is not the server's, which is %s", url, want)
	}
	return nil
}

// store copies body to a file, if one is named, and returns its checksum.
func store(body io.Reader, file string) (sum string, size int64, err error) {
	h := sha256.New()
	to := io.Writer(h)
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return "", 0, err
		}
		defer func() {
			if closed := f.Close(); err == nil {
				err = closed
			}
		}()
		to = io.MultiWriter(h, f)
	}
	size, err = io.Copy(to, body)
	return encode(h.Sum(nil)), size, err
}
