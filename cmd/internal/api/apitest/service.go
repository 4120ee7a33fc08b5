// Package apitest holds a daemon that is nothing but memory, for tests of what
// speaks to one.
package apitest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Service is an api.Service that keeps ports in a map. Its fields are set
// before it is used; its methods may be called from several goroutines at once.
type Service struct {
	// NIC that it claims to serve.
	NIC string
	// Counters is what Stats returns, with Ports cut to those that exist.
	Counters api.Stats
	// Clients are who is connected to ports of kind memif, by the port's name.
	Clients map[string]*api.MemifClient
	// Before is called first by every method, with its name; an error of it
	// is the method's. nil does nothing.
	Before func(ctx context.Context, method string) error
	// Detached is called by Detach at its end; nil does nothing.
	Detached func()

	mu    sync.Mutex
	ports map[string]api.Port
	slot  uint32
}

var _ api.Service = (*Service)(nil)

// Since is when every Service became ready.
func Since() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func (s *Service) enter(ctx context.Context, method string) error {
	if s.Before == nil {
		return nil
	}
	return s.Before(ctx, method)
}

// Status implements api.Service.
func (s *Service) Status(ctx context.Context) (api.Status, error) {
	if err := s.enter(ctx, "Status"); err != nil {
		return api.Status{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return api.Status{
		NIC: s.NIC, IfIndex: 2, IfName: s.NIC, NICState: api.NICUp, Driver: "veth", MAC: api.MAC{2, 0, 0, 0, 0, 1},
		MTU: 1500, Mode: api.ModeNative, Queues: 1, Workers: 1, HostPort: "xdmx0", Ports: len(s.ports),
		MaxPorts: 16384, Since: Since(), PID: 1, Version: "test",
	}, nil
}

// Ports implements api.Service.
func (s *Service) Ports(ctx context.Context) ([]api.Port, error) {
	if err := s.enter(ctx, "Ports"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted(), nil
}

func (s *Service) sorted() []api.Port {
	ports := []api.Port{}
	for _, name := range slices.Sorted(maps.Keys(s.ports)) {
		p := s.ports[name]
		p.Client = s.Clients[name]
		ports = append(ports, p)
	}
	return ports
}

// Add implements api.Service.
func (s *Service) Add(ctx context.Context, specs []api.PortSpec) ([]api.Port, error) {
	if err := s.enter(ctx, "Add"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, spec := range specs {
		if _, ok := s.ports[spec.Name]; ok {
			return nil, api.Errorf(api.CodeConflict, "port %s: the name is taken", spec.Name)
		}
	}
	var added []api.Port
	for _, spec := range specs {
		added = append(added, s.put(spec))
	}
	return added, nil
}

func (s *Service) put(spec api.PortSpec) api.Port {
	if s.ports == nil {
		s.ports = map[string]api.Port{}
		s.slot = 1
	}
	s.slot++
	p := api.Port{PortSpec: spec, EffectiveMAC: spec.MAC, EffectiveMTU: 1500, Slot: s.slot, Generation: 1, State: api.StateReady}
	if spec.IPIdentity() {
		p.EffectiveMAC = api.MAC{2, 0, 0, 0, 0, 1}
	}
	if spec.Kind == api.KindMemif {
		p.Endpoint = &api.Endpoint{SocketPath: "/run/" + s.NIC + "/" + spec.Name + "/memif.sock", MAC: p.EffectiveMAC, IPs: spec.IPs,
			MTU: 1500, Rings: spec.Rings, RingSize: spec.RingSize, BufferSize: spec.BufferSize}
		p.Secret, p.Endpoint.SecretRequired = "", spec.Secret != ""
	}
	s.ports[spec.Name] = p
	return p
}

// Set implements api.Service.
func (s *Service) Set(ctx context.Context, name string, patch api.Patch) (api.Port, error) {
	if err := s.enter(ctx, "Set"); err != nil {
		return api.Port{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.ports[name]
	if !ok {
		return p, unknown(name)
	}
	spec := patch.Apply(p.PortSpec)
	if err := spec.Validate(); err != nil {
		return p, err
	}
	p.PortSpec = spec
	s.ports[name] = p
	return p, nil
}

func unknown(name string) error {
	return api.Errorf(api.CodeNotFound, "port %s: there is no such port", name).WithHint("see xdpdemux ls")
}

// Delete implements api.Service.
func (s *Service) Delete(ctx context.Context, names []string) error {
	if err := s.enter(ctx, "Delete"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.known(names); err != nil {
		return err
	}
	for _, name := range names {
		delete(s.ports, name)
	}
	return nil
}

func (s *Service) known(names []string) error {
	for _, name := range names {
		if _, ok := s.ports[name]; !ok {
			return unknown(name)
		}
	}
	return nil
}

// Apply implements api.Service.
func (s *Service) Apply(ctx context.Context, req api.ApplyRequest) (api.ApplyResult, error) {
	if err := s.enter(ctx, "Apply"); err != nil {
		return api.ApplyResult{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var have []api.PortSpec
	for _, p := range s.sorted() {
		have = append(have, p.PortSpec)
	}
	diff := api.Diff(have, req.Ports)
	if !req.DryRun {
		s.ports = nil
		for _, spec := range req.Ports {
			s.put(spec)
		}
	}
	return diff.Result(), nil
}

// Stats implements api.Service.
func (s *Service) Stats(ctx context.Context, names []string) (api.Stats, error) {
	if err := s.enter(ctx, "Stats"); err != nil {
		return api.Stats{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.known(names); err != nil {
		return api.Stats{}, err
	}
	stats := s.Counters
	stats.NIC, stats.Ports = s.NIC, []api.PortStats{}
	for _, p := range s.Counters.Ports {
		if _, ok := s.ports[p.Name]; ok && (len(names) == 0 || slices.Contains(names, p.Name)) {
			stats.Ports = append(stats.Ports, p)
		}
	}
	return stats, nil
}

// Detach implements api.Service.
func (s *Service) Detach(ctx context.Context) error {
	if err := s.enter(ctx, "Detach"); err != nil {
		return err
	}
	if s.Detached != nil {
		s.Detached()
	}
	return nil
}
