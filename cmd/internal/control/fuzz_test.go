package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// fuzzOne sends one request as root and wants JSON back, whatever it was.
func fuzzOne(t *testing.T, h http.Handler, method, path string, body []byte) {
	ctx := context.WithValue(context.Background(), peerKey{}, peer{uid: os.Geteuid(), ok: true})
	req, err := http.NewRequestWithContext(ctx, method, "http://x"+path, bytes.NewReader(body))
	if err != nil {
		return // no HTTP client can send that
	}
	w := deadlines{httptest.NewRecorder()}
	h.ServeHTTP(w, req)
	if w.Code/100 == 3 {
		return // the mux cleans the path
	}
	if !json.Valid(w.Body.Bytes()) {
		t.Fatalf("%s %s: %d %q", method, path, w.Code, w.Body)
	}
	if w.Code == http.StatusInternalServerError {
		t.Fatalf("%s %s %q: %q", method, path, body, w.Body)
	}
}

// deadlines is a recorder that takes deadlines as a connection does.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(t time.Time) error  { return nil }
func (deadlines) SetWriteDeadline(t time.Time) error { return nil }
