package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// Endpoint is what xdpdemux tells of a port of kind memif: all that a program
// needs to connect and to configure itself.
type Endpoint struct {
	// Name is the port's.
	Name string
	// Socket is as in Config, with an @ in front if it is an abstract one.
	Socket string
	// ID is as in Config.
	ID uint32
	// SecretRequired says that Config needs the port's Secret.
	SecretRequired bool
	// MAC is what frames must be sent from.
	MAC net.HardwareAddr
	// IPs are the addresses that the program may bear, each with the length of
	// its on-link prefix.
	IPs []netip.Prefix
	// Prefixes are owned whole.
	Prefixes []netip.Prefix
	// LinkLocal is the fe80:: address to use; not valid if there is no IPv6.
	LinkLocal netip.Addr
	// Gateways are the default next hops, at most one of each family.
	Gateways []netip.Addr
	// MTU is in bytes, without the Ethernet header.
	MTU int
	// Rings is how many are needed in each direction.
	Rings int
	// RingSize is the most slots a ring may have.
	RingSize int
	// BufferSize bounds the memory: bytes for each slot.
	BufferSize int
}

// Config is how to connect to the endpoint. The secret is empty where none is
// required.
func (e Endpoint) Config(secret string) Config {
	return Config{Socket: e.Socket, ID: e.ID, Secret: secret, Rings: e.Rings, RingSize: e.RingSize, BufferSize: e.BufferSize}
}

// MaxFrame is the largest frame to expect and to send in bytes, Ethernet header
// included.
func (e Endpoint) MaxFrame() int { return e.MTU + 14 }

// UnmarshalJSON reads the "endpoint" of a port as xdpdemux prints it.
func (e *Endpoint) UnmarshalJSON(b []byte) error {
	var told struct {
		SocketPath     string
		Abstract       bool
		ID             uint32
		SecretRequired bool
		MAC            string
		IPs            []netip.Prefix
		Prefixes       []netip.Prefix
		LinkLocal      netip.Addr
		Gateways       []netip.Addr
		MTU            int
		Rings          int
		RingSize       int
		BufferSize     int
	}
	if err := json.Unmarshal(b, &told); err != nil {
		return err
	}
	mac, err := net.ParseMAC(told.MAC)
	if err != nil || len(mac) != 6 {
		return fmt.Errorf("%q is no Ethernet address", told.MAC)
	}
	if told.Abstract {
		told.SocketPath = "@" + told.SocketPath
	}
	*e = Endpoint{
		Name: e.Name, Socket: told.SocketPath, ID: told.ID, SecretRequired: told.SecretRequired,
		MAC: mac, IPs: told.IPs, Prefixes: told.Prefixes, LinkLocal: told.LinkLocal, Gateways: told.Gateways,
		MTU: told.MTU, Rings: told.Rings, RingSize: told.RingSize, BufferSize: told.BufferSize,
	}
	return nil
}

// ReadEndpoints reads what `xdpdemux add -o json` or `xdpdemux ls -o json`
// printed, once or several times one after the other, and returns the endpoints
// of all ports of kind memif. Other ports are left out.
func ReadEndpoints(r io.Reader) ([]Endpoint, error) {
	var all []Endpoint
	for dec := json.NewDecoder(r); ; {
		var list struct {
			Ports []struct {
				Name     string
				Endpoint *Endpoint
			}
		}
		if err := dec.Decode(&list); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("this is not what xdpdemux prints with -o json: %w", err)
		}
		for _, p := range list.Ports {
			if p.Endpoint != nil {
				p.Endpoint.Name = p.Name
				all = append(all, *p.Endpoint)
			}
		}
	}
}
