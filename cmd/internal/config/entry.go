package config

import (
	"math"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Entry is a port as somebody typed it: a table of a file for apply, or the
// flags of add.
type Entry struct {
	Name          string   `json:"name"`
	Kind          string   `json:"kind"`
	IPs           []string `json:"ips"`
	Prefixes      []string `json:"prefixes"`
	MAC           string   `json:"mac"`
	VLAN          int      `json:"vlan"`
	NetNS         string   `json:"netns"`
	IfName        string   `json:"ifname"`
	MTU           int      `json:"mtu"`
	Depth         int      `json:"depth"`
	Gateways      []string `json:"gateways"`
	NoSourceCheck bool     `json:"no_source_check"`
}

// Spec reads the entry. What is no address and no number that could be one is
// an *api.Error of CodeUsage that names the port; the spec is not validated.
func (e *Entry) Spec() (api.PortSpec, error) {
	spec := api.PortSpec{Name: e.Name, Kind: e.Kind, NetNS: e.NetNS, IfName: e.IfName,
		MTU: e.MTU, Depth: e.Depth, NoSourceCheck: e.NoSourceCheck}
	if err := e.parse(&spec); err != nil {
		return spec, api.InPort(e.Name, err)
	}
	return spec, nil
}

func (e *Entry) parse(spec *api.PortSpec) (err error) {
	if spec.IPs, err = ParseIPs(e.IPs); err != nil {
		return err
	}
	if spec.Prefixes, err = ParsePrefixes(e.Prefixes); err != nil {
		return err
	}
	if spec.Gateways, err = ParseGateways(e.Gateways); err != nil {
		return err
	}
	if err = spec.MAC.UnmarshalText([]byte(e.MAC)); err != nil {
		return err
	}
	if e.MAC != "" && spec.MAC.IsZero() {
		return usage("leave it out to share the NIC's", "MAC address %s: it is all zero", e.MAC)
	}
	if e.VLAN < 0 || e.VLAN > math.MaxUint16 {
		return usage("give 1 to 4094", "VLAN %d: it is out of range", e.VLAN)
	}
	spec.VLAN = uint16(e.VLAN)
	return nil
}

// ParseIPs reads addresses with the lengths of their on-link prefixes.
func ParseIPs(list []string) ([]netip.Prefix, error) { return parseEach(list, api.ParseIP) }

// ParsePrefixes reads prefixes that are to be owned whole.
func ParsePrefixes(list []string) ([]netip.Prefix, error) { return parseEach(list, api.ParsePrefix) }

// ParseGateways reads addresses of next hops.
func ParseGateways(list []string) ([]netip.Addr, error) { return parseEach(list, api.ParseGateway) }

func parseEach[T any](list []string, parse func(string) (T, error)) ([]T, error) {
	var values []T
	for _, s := range list {
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}
