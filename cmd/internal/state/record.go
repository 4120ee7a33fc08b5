package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Phase is how far a port has come, as far as the disk knows.
type Phase string

// The phases. A port that is in none of them does not exist.
const (
	// Adding: its queue and rules are about to be made, or are in part. The
	// next start completes or undoes it; nobody was told that it exists.
	Adding Phase = "adding"
	// Ready: it exists.
	Ready Phase = "ready"
	// Deleting: it is about to go, or has gone in part. The next start
	// completes that.
	Deleting Phase = "deleting"
)

// Facts are what the daemon knows of a port beyond its spec and needs to find
// it again after a crash.
type Facts struct {
	// Slot and Generation in the kernel's and the switch's tables.
	Slot       uint32 `json:"slot,omitempty"`
	Generation uint32 `json:"generation,omitempty"`
	// NetNSInode and NetNSCookie identify the network namespace: its number in
	// nsfs, and the number that no other one of this boot bears.
	NetNSInode  uint64 `json:"netns_inode,omitempty"`
	NetNSCookie uint64 `json:"netns_cookie,omitempty"`
	// MAC that the interface bears.
	MAC api.MAC `json:"mac,omitzero"`
	// LinkLocal is the fe80:: address that was given.
	LinkLocal netip.Addr `json:"link_local,omitzero"`
}

// Entry is one port as the disk knows it.
type Entry struct {
	// Spec is what the user asked for.
	Spec api.PortSpec
	// Facts are those of the last record that stated any.
	Facts Facts
	// Phase is how far it has come.
	Phase Phase
	// Was is what the port was before Set, as long as nothing says that the
	// change is made: what is there may be as either says, or between. Else nil.
	Was *api.PortSpec
}

// op is what a record says.
type op string

const (
	opHeader   op = "journal"
	opAdding   op = "adding"
	opReady    op = "ready"
	opSet      op = "set"
	opDeleting op = "deleting"
	opDeleted  op = "deleted"
)

// version of the journal's format; a reader refuses a higher one.
const version = 1

// record is one line of the journal.
type record struct {
	Op      op            `json:"op"`
	Version int           `json:"version,omitempty"`
	Name    string        `json:"name,omitempty"`
	Spec    *api.PortSpec `json:"spec,omitempty"`
	Facts   *Facts        `json:"facts,omitempty"`
}

// subject is the port that the record is about.
func (r *record) subject() string {
	if r.Op == opAdding && r.Spec != nil {
		return r.Spec.Name
	}
	return r.Name
}

// encode makes the lines of some records.
func encode(records []record) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf) // ends each value with a newline, and puts none inside
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), nil
}

func decode(line []byte) (r record, err error) {
	if err := api.DecodeStrict(line, &r); err != nil {
		return r, fmt.Errorf("no record: %w", err)
	}
	return r, nil
}
