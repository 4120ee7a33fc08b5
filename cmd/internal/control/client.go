package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Client speaks to the daemon of one NIC. It implements api.Service; errors are
// *api.Error. Its methods may be called from several goroutines at once.
type Client struct {
	runDir, nic string
	http        *http.Client
}

var _ api.Service = (*Client)(nil)

// NewClient connects when it is first used.
func NewClient(runDir, nic string) *Client {
	c := &Client{runDir: runDir, nic: nic}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", SocketPath(runDir, nic))
		},
		DisableCompression: true,
	}}
	return c
}

// Close hangs up.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// NIC is the NIC whose daemon this is.
func (c *Client) NIC() string { return c.nic }

// Status implements api.Service.
func (c *Client) Status(ctx context.Context) (s api.Status, err error) {
	err = c.do(ctx, "GET", "/status", nil, &s)
	return s, err
}

// Ports implements api.Service.
func (c *Client) Ports(ctx context.Context) ([]api.Port, error) {
	var list api.PortList
	err := c.do(ctx, "GET", "/ports", nil, &list)
	return list.Ports, err
}

// Add implements api.Service.
func (c *Client) Add(ctx context.Context, specs []api.PortSpec) ([]api.Port, error) {
	var list api.PortList
	err := c.do(ctx, "POST", "/ports", api.AddRequest{Ports: specs}, &list)
	return list.Ports, err
}

// Set implements api.Service.
func (c *Client) Set(ctx context.Context, name string, patch api.Patch) (p api.Port, err error) {
	err = c.do(ctx, "PATCH", "/ports/"+url.PathEscape(name), patch, &p)
	return p, err
}

// Delete implements api.Service.
func (c *Client) Delete(ctx context.Context, names []string) error {
	return c.do(ctx, "DELETE", "/ports", api.DeleteRequest{Names: names}, new(api.DeleteResult))
}

// Apply implements api.Service.
func (c *Client) Apply(ctx context.Context, req api.ApplyRequest) (r api.ApplyResult, err error) {
	if req.Ports == nil {
		req.Ports = []api.PortSpec{}
	}
	err = c.do(ctx, "PUT", "/ports", req, &r)
	return r, err
}

// Stats implements api.Service.
func (c *Client) Stats(ctx context.Context, names []string) (s api.Stats, err error) {
	query := url.Values{"port": names}.Encode()
	if query != "" {
		query = "?" + query
	}
	err = c.do(ctx, "GET", "/stats"+query, nil, &s)
	return s, err
}

// Detach implements api.Service.
func (c *Client) Detach(ctx context.Context) error {
	return c.do(ctx, "POST", "/detach", nil, &struct{}{})
}

// WaitGone returns when the daemon has left its socket and its lock, as it does
// shortly after Detach, or with an error when ctx ends before.
func (c *Client) WaitGone(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for Remains(c.runDir, c.nic) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return api.Errorf(api.CodeFailed, "NIC %s: the daemon gave it back, but does not end", c.nic).
				WithHint("see what it prints")
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// do sends one request and reads its answer into reply.
func (c *Client) do(ctx context.Context, method, path string, request, reply any) error {
	var body io.Reader
	if request != nil {
		data, err := json.Marshal(request)
		if err != nil {
			return api.AsError(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://xdpdemux"+api.Prefix+path, body)
	if err != nil {
		return api.AsError(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return c.unreachable(err)
	}
	return understand(resp.StatusCode, data, reply)
}

// understand reads an answer. Fields that this program does not know are
// fine: the daemon may be newer.
func understand(status int, data []byte, reply any) error {
	if status == http.StatusOK {
		if err := json.Unmarshal(data, reply); err != nil {
			return api.Errorf(api.CodeFailed, "answer: %w", err).WithHint("is this the daemon's socket?")
		}
		return nil
	}
	var e api.ErrorReply
	if err := json.Unmarshal(data, &e); err != nil || e.Error == nil {
		return api.Errorf(api.CodeFailed, "answer: HTTP status %d and no reason", status).
			WithHint("is this the daemon's socket?")
	}
	return e.Error
}

// unreachable says why there is no answer.
func (c *Client) unreachable(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &api.Error{Code: api.CodeFailed, Message: "NIC " + c.nic + ": gave up waiting for the daemon's answer"}
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return noDaemon(fmt.Sprintf("NIC %s: no daemon answers at %s", c.nic, SocketPath(c.runDir, c.nic)),
			"start one with xdpdemux attach "+c.nic)
	case errors.Is(err, fs.ErrPermission):
		return forbidden(SocketPath(c.runDir, c.nic))
	}
	return api.Errorf(api.CodeFailed, "NIC %s: the daemon did not answer: %w", c.nic, err).
		WithHint("see whether it still runs")
}

func noDaemon(message, hint string) error {
	return &api.Error{Code: api.CodeNoDaemon, Message: message, Hint: hint}
}

func forbidden(path string) error {
	return &api.Error{Code: api.CodePermission, Message: path + ": permission denied", Hint: "use sudo, or join the group that owns it"}
}
