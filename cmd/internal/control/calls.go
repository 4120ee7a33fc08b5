package control

import (
	"context"
	"net/http"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/portset"
)

func (h *handler) status(r *http.Request) (any, error) { return h.service.Status(r.Context()) }

func (h *handler) ports(r *http.Request) (any, error) {
	ports, err := h.service.Ports(r.Context())
	return listOf(ports), err
}

// listOf never holds null in place of a list.
func listOf(ports []api.Port) api.PortList {
	return api.PortList{Ports: append([]api.Port{}, ports...)}
}

func (h *handler) add(r *http.Request) (any, error) {
	var req api.AddRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if len(req.Ports) == 0 {
		return nil, api.Errorf(api.CodeUsage, "request: it names no port")
	}
	specs, err := portset.Check(req.Ports)
	if err != nil {
		return nil, err
	}
	ports, err := h.service.Add(r.Context(), specs)
	return listOf(ports), err
}

func (h *handler) apply(r *http.Request) (any, error) {
	var req api.ApplyRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if req.Ports == nil {
		return nil, api.Errorf(api.CodeUsage, "request: ports is missing").
			WithHint(`say {"ports": []} to remove every port`)
	}
	specs, err := portset.Check(req.Ports)
	if err != nil {
		return nil, err
	}
	req.Ports = specs
	return h.service.Apply(r.Context(), req)
}

func (h *handler) set(r *http.Request) (any, error) {
	var patch api.Patch
	if err := decode(r, &patch); err != nil {
		return nil, err
	}
	if patch.Empty() {
		return nil, api.Errorf(api.CodeUsage, "request: it changes nothing")
	}
	return h.service.Set(r.Context(), r.PathValue("name"), patch)
}

func (h *handler) deleteOne(r *http.Request) (any, error) {
	return h.remove(r, []string{r.PathValue("name")})
}

func (h *handler) deleteMany(r *http.Request) (any, error) {
	var req api.DeleteRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	if len(req.Names) == 0 {
		return nil, api.Errorf(api.CodeUsage, "request: it names no port")
	}
	return h.remove(r, req.Names)
}

func (h *handler) remove(r *http.Request, names []string) (any, error) {
	return api.DeleteResult{Deleted: names}, h.service.Delete(r.Context(), names)
}

func (h *handler) stats(r *http.Request) (any, error) {
	return h.service.Stats(r.Context(), r.URL.Query()["port"])
}

// detach goes on to its end even if the one who asked hangs up.
func (h *handler) detach(r *http.Request) (any, error) {
	return struct{}{}, h.service.Detach(context.WithoutCancel(r.Context()))
}
