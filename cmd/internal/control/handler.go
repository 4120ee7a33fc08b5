package control

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// handler turns requests into calls of the service.
type handler struct {
	service api.Service
	cfg     Config
	mux     *http.ServeMux
}

// call does one thing and returns what goes back as JSON.
type call func(*http.Request) (any, error)

// methods are the calls of one path. GET is for everybody who can open the
// socket, all others are for those who may change something.
type methods map[string]call

// route is a path behind api.Prefix, with its methods and query parameters.
type route struct {
	path    string
	methods methods
	params  []string
}

func (h *handler) routes() []route {
	return []route{
		{path: "/status", methods: methods{"GET": h.status}},
		{path: "/ports", methods: methods{"GET": h.ports, "POST": h.add, "PUT": h.apply, "DELETE": h.deleteMany}},
		{path: "/ports/{name}", methods: methods{"PATCH": h.set, "DELETE": h.deleteOne}},
		{path: "/stats", methods: methods{"GET": h.stats}, params: []string{"port"}},
		{path: "/detach", methods: methods{"POST": h.detach}},
	}
}

func newHandler(service api.Service, cfg Config) *handler {
	h := &handler{service: service, cfg: cfg, mux: http.NewServeMux()}
	for _, r := range h.routes() {
		h.mux.HandleFunc(api.Prefix+r.path, h.serve(r))
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.reply(w, nil, api.Errorf(api.CodeNotFound, "path %.60q: there is no such thing", r.URL.Path).
			WithHint("docs/CLI.md lists the paths"))
	})
	return h
}

// serve admits a request, takes its body, and does what it asks.
func (h *handler) serve(to route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		do, err := h.admit(r, to)
		if err == nil {
			err = h.takeBody(w, r)
		}
		if err != nil {
			h.reply(w, nil, err)
			return
		}
		value, err := do(r)
		h.reply(w, value, err)
	}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// admit decides before anything of the body is read.
func (h *handler) admit(r *http.Request, to route) (call, error) {
	do, ok := to.methods[r.Method]
	if !ok {
		return nil, api.Errorf(api.CodeUsage, "%.20s %s: this path has no such method", r.Method, r.URL.Path).
			WithHint("docs/CLI.md lists the paths")
	}
	if r.Method != http.MethodGet && !peerFrom(r.Context()).mayChange() {
		return nil, api.Errorf(api.CodePermission, "%s %s: only the superuser and the daemon's own user may change anything",
			r.Method, r.URL.Path).WithHint("use sudo")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "query: %w", err)
	}
	for key := range query {
		if !slices.Contains(to.params, key) {
			return nil, api.Errorf(api.CodeUsage, "query: there is no parameter %.60q", key)
		}
	}
	return do, nil
}

// takeBody reads the request to its end, within the bounds, before the service
// hears of it. How long the service takes is not bounded.
func (h *handler) takeBody(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return api.Errorf(api.CodeLimit, "request: it is longer than %d bytes", h.cfg.MaxBody).WithHint("send it in parts")
	}
	if err != nil {
		return api.Errorf(api.CodeUsage, "request: it did not arrive: %w", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}
