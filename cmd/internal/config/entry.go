package config

import (
	"math"
	"net/netip"
	"strings"

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
	Rings         int      `json:"rings"`
	RingSize      int      `json:"ring_size"`
	BufferSize    int      `json:"buffer_size"`
	Secret        string   `json:"secret"`
	SecretFile    string   `json:"secret_file"` // see ReadSecret
	UID           int      `json:"uid"`
	GID           int      `json:"gid"`
	Abstract      string   `json:"abstract"`
	AllowUnsealed bool     `json:"allow_unsealed"`
}

// ReadSecret puts what SecretFile holds, without a newline at its end, in the
// place of Secret. Without SecretFile it does nothing.
func (e *Entry) ReadSecret(read func(path string) ([]byte, error)) error {
	switch {
	case e.SecretFile == "":
		return nil
	case e.Secret != "":
		return api.InPort(e.Name, usage("leave one of the two out", "secret: it is given, and a file of it as well"))
	}
	data, err := read(e.SecretFile)
	if err != nil {
		return api.InPort(e.Name, usage("name a file that can be read", "secret: %w", err))
	}
	if e.Secret = strings.TrimSuffix(string(data), "\n"); e.Secret == "" {
		return api.InPort(e.Name, usage("write the secret into it, or leave it out", "secret: %s is empty", e.SecretFile))
	}
	return nil
}

// Spec reads the entry. What is no address and no number that could be one is
// an *api.Error of CodeUsage that names the port; the spec is not validated.
func (e *Entry) Spec() (api.PortSpec, error) {
	spec := api.PortSpec{Name: e.Name, Kind: e.Kind, NetNS: e.NetNS, IfName: e.IfName,
		MTU: e.MTU, Depth: e.Depth, NoSourceCheck: e.NoSourceCheck,
		MemifSpec: api.MemifSpec{Rings: e.Rings, RingSize: e.RingSize, BufferSize: e.BufferSize, Secret: e.Secret,
			UID: e.UID, GID: e.GID, Abstract: e.Abstract, AllowUnsealed: e.AllowUnsealed}}
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
