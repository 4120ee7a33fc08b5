package api

import (
	"net/netip"
	"slices"
)

// Patch is a change of a port that keeps its interface, and every frame on the
// way. A field that is left out stays as it is; an empty list empties.
type Patch struct {
	// IPs replaces PortSpec.IPs.
	IPs *[]netip.Prefix `json:"ips,omitempty"`
	// Prefixes replaces PortSpec.Prefixes.
	Prefixes *[]netip.Prefix `json:"prefixes,omitempty"`
	// MTU in bytes; 0 means that of the NIC.
	MTU *int `json:"mtu,omitempty"`
	// Depth in frames; 0 means the kind's default.
	Depth *int `json:"depth,omitempty"`
	// Gateways replaces PortSpec.Gateways.
	Gateways *[]netip.Addr `json:"gateways,omitempty"`
	// NoSourceCheck replaces PortSpec.NoSourceCheck.
	NoSourceCheck *bool `json:"no_source_check,omitempty"`
}

// Empty says that the patch changes nothing.
func (p Patch) Empty() bool { return p == Patch{} }

// Apply is spec changed by p. It shares no memory with either, and is not yet
// validated.
func (p Patch) Apply(spec PortSpec) PortSpec {
	replace(&spec.IPs, p.IPs)
	replace(&spec.Prefixes, p.Prefixes)
	replace(&spec.MTU, p.MTU)
	replace(&spec.Depth, p.Depth)
	replace(&spec.Gateways, p.Gateways)
	replace(&spec.NoSourceCheck, p.NoSourceCheck)
	return spec.Clone()
}

func replace[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

// PatchBetween is the patch that makes to of from, as far as a patch can. It
// shares to's slices.
func PatchBetween(from, to PortSpec) Patch {
	var p Patch
	p.IPs = changedList(from.IPs, to.IPs)
	p.Prefixes = changedList(from.Prefixes, to.Prefixes)
	p.Gateways = changedList(from.Gateways, to.Gateways)
	p.MTU = changed(from.MTU, to.MTU)
	p.Depth = changed(from.Depth, to.Depth)
	p.NoSourceCheck = changed(from.NoSourceCheck, to.NoSourceCheck)
	return p
}

func changed[T comparable](from, to T) *T {
	if from == to {
		return nil
	}
	return &to
}

// changedList is never a pointer to nil: JSON would make that null, which
// means no change.
func changedList[T comparable](from, to []T) *[]T {
	if slices.Equal(from, to) {
		return nil
	}
	if to == nil {
		to = []T{}
	}
	return &to
}
