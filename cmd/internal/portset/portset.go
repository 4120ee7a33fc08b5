// Package portset checks specs of ports before anything is done: each by
// itself, and all against each other. What they collide with on the machine, or
// among the ports that are there, is for the daemon to say.
package portset

import (
	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/identity"
)

// Set is the specs that were accepted so far. It belongs to one goroutine at a
// time.
type Set struct {
	owned  *identity.Registry
	places map[place]string
	spoken map[place]string // abstract sockets
	specs  []api.PortSpec
}

// place is where an interface or an abstract socket is, as far as two specs spell it alike.
type place struct{ netns, name string }

// New returns an empty Set.
func New() *Set {
	return &Set{owned: identity.NewRegistry(), places: map[place]string{}, spoken: map[place]string{}}
}

// Add accepts a spec with its defaults, or returns an *api.Error of CodeUsage
// or CodeConflict that names the port.
func (s *Set) Add(spec api.PortSpec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	spec = spec.WithDefaults()
	if s.owned.Has(spec.Name) {
		return api.Errorf(api.CodeConflict, "port %s: the name is there twice", spec.Name).WithHint("give each port its own name")
	}
	where := place{spec.NetNS, spec.IfName}
	if other, taken := s.places[where]; taken && spec.IfName != "" {
		return api.Errorf(api.CodeConflict, "port %s: interface %s belongs to port %s in the same netns", spec.Name, spec.IfName, other).
			WithHint("give another ifname")
	}
	spoken := place{spec.NetNS, spec.Abstract}
	if other, taken := s.spoken[spoken]; taken {
		return api.Errorf(api.CodeConflict, "port %s: abstract socket %s belongs to port %s", spec.Name, spec.Abstract, other).
			WithHint("give another abstract")
	}
	if err := s.owned.Claim(spec.Name, identity.Of(spec)); err != nil {
		return err
	}
	s.places[where] = spec.Name
	if spec.Abstract != "" {
		s.spoken[spoken] = spec.Name
	}
	s.specs = append(s.specs, spec)
	return nil
}

// Specs are those that were accepted, in order. The slice is the Set's.
func (s *Set) Specs() []api.PortSpec { return s.specs }

// Check accepts all specs, or returns the first error.
func Check(specs []api.PortSpec) ([]api.PortSpec, error) {
	s := New()
	for _, spec := range specs {
		if err := s.Add(spec); err != nil {
			return nil, err
		}
	}
	return s.Specs(), nil
}
