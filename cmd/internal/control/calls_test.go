package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/api/apitest"
)

func TestEveryCall(t *testing.T) {
	detached := false
	fake := service()
	fake.Detached = func() { detached = true }
	fake.Counters.Ports = []api.PortStats{{Name: "a", RxFrames: 7}, {Name: "b"}}
	fake.Counters.Total = api.Flow{Received: 1 << 63, Drops: map[string]uint64{"spoofed": 3}}
	c, _ := connected(t, fake)
	ctx := t.Context()

	status, err := c.Status(ctx)
	if err != nil || status.NIC != "eth0" || !status.Since.Equal(apitest.Since()) {
		t.Errorf("status %+v, %v", status, err)
	}
	ports, err := c.Ports(ctx)
	if err != nil || len(ports) != 0 {
		t.Errorf("ports %+v, %v", ports, err)
	}
	ports, err = c.Add(ctx, []api.PortSpec{spec("b", "10.0.0.2/24"), spec("a", "10.0.0.1/24")})
	if err != nil || len(ports) != 2 || ports[0].Name != "b" || ports[0].IfName != "eth0" || ports[0].State != api.StateReady {
		t.Errorf("add %+v, %v", ports, err)
	}
	mtu := 1400
	port, err := c.Set(ctx, "a", api.Patch{MTU: &mtu})
	if err != nil || port.MTU != 1400 || port.Name != "a" {
		t.Errorf("set %+v, %v", port, err)
	}
	stats, err := c.Stats(ctx, []string{"a"})
	if err != nil || len(stats.Ports) != 1 || stats.Ports[0].RxFrames != 7 || stats.Total.Received != 1<<63 || stats.Total.Dropped() != 3 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	if stats, err = c.Stats(ctx, nil); err != nil || len(stats.Ports) != 2 {
		t.Errorf("all stats %+v, %v", stats, err)
	}
	want := []api.PortSpec{spec("c", "10.0.0.3/24"), spec("b", "10.0.0.2/24")}
	for range 2 {
		result, err := c.Apply(ctx, api.ApplyRequest{Ports: want, DryRun: true})
		if w := (api.ApplyResult{Added: []string{"c"}, Changed: []string{}, Replaced: []string{}, Removed: []string{"a"},
			Unchanged: []string{"b"}}); err != nil || !reflect.DeepEqual(result, w) {
			t.Errorf("dry run %+v, %v", result, err)
		}
	}
	if _, err = c.Apply(ctx, api.ApplyRequest{Ports: want}); err != nil {
		t.Error(err)
	}
	must(t, c.Delete(ctx, []string{"b", "c"}))
	if ports, err = c.Ports(ctx); err != nil || len(ports) != 0 {
		t.Errorf("ports %+v, %v", ports, err)
	}
	if _, err = c.Apply(ctx, api.ApplyRequest{}); err != nil {
		t.Errorf("apply of nothing: %v", err)
	}
	if err := c.Detach(ctx); err != nil || !detached {
		t.Errorf("detach: %v, %v", detached, err)
	}
	if c.NIC() != "eth0" {
		t.Error(c.NIC())
	}
}

// Names that mean something in a URL arrive as they are.
func TestNamesInPaths(t *testing.T) {
	c, _ := connected(t, service())
	for _, name := range []string{"a:b@c+d-e_f.g", "delete", "1"} {
		s := spec(name, "10.0.0.1/24")
		if _, err := c.Add(t.Context(), []api.PortSpec{s}); err != nil {
			t.Fatal(err)
		}
		depth := 64
		if p, err := c.Set(t.Context(), name, api.Patch{Depth: &depth}); err != nil || p.Name != name {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if _, err := c.Stats(t.Context(), []string{name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		must(t, c.Delete(t.Context(), []string{name}))
	}
}

// An error of the service arrives with its code, its text and its hint.
func TestErrorsArrive(t *testing.T) {
	for code, status := range map[api.Code]int{
		api.CodeUsage: 400, api.CodePermission: 403, api.CodeNotFound: 404, api.CodeConflict: 409, api.CodeGone: 410,
		api.CodeLimit: 507, api.CodeBusy: 503, api.CodeUnsupported: 501, api.CodeFailed: 500,
	} {
		t.Run(string(code), func(t *testing.T) {
			fake := service()
			fake.Before = func(context.Context, string) error { return api.Errorf(code, "it: because").WithHint("do that") }
			c, dir := connected(t, fake)
			_, err := c.Status(t.Context())
			if api.CodeOf(err) != code || err.Error() != "it: because; do that" {
				t.Errorf("got %v (%s)", err, api.CodeOf(err))
			}
			if got, body := ask(t, dir, "GET", "/v1/status", ""); got != status {
				t.Errorf("status %d: %s", got, body)
			}
		})
	}
	fake := service()
	fake.Before = func(context.Context, string) error { return errors.New("plain") }
	c, _ := connected(t, fake)
	if err := c.Delete(t.Context(), []string{"a"}); api.CodeOf(err) != api.CodeFailed || err.Error() != "plain" {
		t.Errorf("got %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	_, dir := connected(t, service())
	const good = `{"name":"a","ips":["10.0.0.1/24"],"netns":"a"}`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code               api.Code
		want               string
	}{
		"no such path":      {"GET", "/v1/nothing", "", 404, api.CodeNotFound, "/v1/nothing"},
		"no version":        {"GET", "/status", "", 404, api.CodeNotFound, "/status"},
		"root":              {"GET", "/", "", 404, api.CodeNotFound, ""},
		"method":            {"POST", "/v1/status", "", 400, api.CodeUsage, "no such method"},
		"odd method":        {"FROBNICATE", "/v1/ports", "", 400, api.CodeUsage, "no such method"},
		"query":             {"GET", "/v1/stats?prot=a", "", 400, api.CodeUsage, `no parameter "prot"`},
		"query elsewhere":   {"GET", "/v1/ports?port=a", "", 400, api.CodeUsage, "no parameter"},
		"broken query":      {"GET", "/v1/stats?port=%zz", "", 400, api.CodeUsage, "query"},
		"unknown in stats":  {"GET", "/v1/stats?port=a", "", 404, api.CodeNotFound, "port a"},
		"no body":           {"POST", "/v1/ports", "", 400, api.CodeUsage, "the body is missing"},
		"no JSON":           {"POST", "/v1/ports", "name=a", 400, api.CodeUsage, "invalid character"},
		"cut off":           {"POST", "/v1/ports", `{"ports":[`, 400, api.CodeUsage, "ends too early"},
		"trailing garbage":  {"POST", "/v1/ports", `{"ports":[` + good + `]} x`, 400, api.CodeUsage, "something stands behind"},
		"unknown field":     {"POST", "/v1/ports", `{"ports":[{"nome":"a"}]}`, 400, api.CodeUsage, `unknown field "nome"`},
		"wrong type":        {"POST", "/v1/ports", `{"ports":[{"vlan":"x"}]}`, 400, api.CodeUsage, "vlan: string where"},
		"nothing to add":    {"POST", "/v1/ports", `{"ports":[]}`, 400, api.CodeUsage, "names no port"},
		"null":              {"POST", "/v1/ports", `null`, 400, api.CodeUsage, "names no port"},
		"invalid port":      {"POST", "/v1/ports", `{"ports":[{"name":"a","ips":["224.0.0.1/24"]}]}`, 400, api.CodeUsage, "multicast"},
		"conflict within":   {"POST", "/v1/ports", `{"ports":[` + good + `,` + good + `]}`, 409, api.CodeConflict, "twice"},
		"apply without":     {"PUT", "/v1/ports", `{}`, 400, api.CodeUsage, "ports is missing"},
		"apply invalid":     {"PUT", "/v1/ports", `{"ports":[{"name":""}]}`, 400, api.CodeUsage, "name is missing"},
		"apply broken":      {"PUT", "/v1/ports", `{"ports":`, 400, api.CodeUsage, "ends too early"},
		"empty patch":       {"PATCH", "/v1/ports/a", `{}`, 400, api.CodeUsage, "changes nothing"},
		"patch of identity": {"PATCH", "/v1/ports/a", `{"mac":"02:00:00:00:00:01"}`, 400, api.CodeUsage, `unknown field "mac"`},
		"patch of unknown":  {"PATCH", "/v1/ports/a", `{"mtu":1400}`, 404, api.CodeNotFound, "port a"},
		"delete unknown":    {"DELETE", "/v1/ports/a", "", 404, api.CodeNotFound, "port a"},
		"delete none":       {"DELETE", "/v1/ports", `{"names":[]}`, 400, api.CodeUsage, "names no port"},
		"delete broken":     {"DELETE", "/v1/ports", `{"names":"a"}`, 400, api.CodeUsage, "a list belongs"},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := ask(t, dir, c.method, c.path, c.body)
			var reply api.ErrorReply
			if err := json.Unmarshal([]byte(body), &reply); err != nil || reply.Error == nil {
				t.Fatalf("%d %q: %v", status, body, err)
			}
			if status != c.status || reply.Error.Code != c.code || !strings.Contains(reply.Error.Error(), c.want) {
				t.Errorf("got %d %s, want %d %s %q", status, body, c.status, c.code, c.want)
			}
		})
	}
}

func TestPlainHTTP(t *testing.T) {
	_, dir := connected(t, service())
	status, body := ask(t, dir, "POST", "/v1/ports", `{"ports":[{"name":"a","ips":["10.0.0.1/24"],"netns":"a"}]}`)
	if status != http.StatusOK || !strings.HasSuffix(body, "}\n") {
		t.Errorf("%d %s", status, body)
	}
	if status, body = ask(t, dir, "DELETE", "/v1/ports/a", ""); status != http.StatusOK || body != `{"deleted":["a"]}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
	if status, body = ask(t, dir, "GET", "/v1/ports", ""); status != http.StatusOK || body != `{"ports":[]}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
}

// What the service answers beyond what this client knows does no harm.
func TestNewerDaemon(t *testing.T) {
	var s api.Status
	must(t, understand(200, []byte(`{"nic":"eth0","colour":"red"}`), &s))
	if s.NIC != "eth0" {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		status int
		body   string
	}{{200, "x"}, {500, "x"}, {404, "{}"}, {503, ""}} {
		if err := understand(c.status, []byte(c.body), &s); api.CodeOf(err) != api.CodeFailed {
			t.Errorf("%d %q: %v", c.status, c.body, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add("POST", "/v1/ports", []byte(`{"ports":[{"name":"a","ips":["10.0.0.1/24"],"netns":"a"}]}`))
	f.Add("PATCH", "/v1/ports/a", []byte(`{"mtu":1400,"ips":[]}`))
	f.Add("PUT", "/v1/ports", []byte(`{"ports":[],"dry_run":true}`))
	f.Add("GET", "/v1/stats?port=a", []byte(nil))
	f.Add("DELETE", "/v1/ports/%2e%2e", []byte(nil))
	h := newHandler(&apitest.Service{NIC: "eth0"}, Config{}.withDefaults())
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		fuzzOne(t, h, method, path, body)
	})
}
