package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// table is what a sequence of records adds up to. Entries come out in the
// order in which their ports were added.
type table struct {
	entries map[string]*numbered
	next    int
}

type numbered struct {
	Entry
	n int
}

func newTable() *table { return &table{entries: map[string]*numbered{}} }

// errUnknown is a record about a port that does not exist.
var errUnknown = errors.New("no such port")

// apply adds one record up. On an error the table is as before. An entry is
// never changed in place, so that a map of old entries can undo.
func (t *table) apply(r record) error {
	switch r.Op {
	case opHeader:
		return checkVersion(r)
	case opAdding:
		return t.add(r)
	case opReady, opSet, opDeleting, opDeleted:
		return t.change(r)
	}
	return fmt.Errorf("unknown operation %q", r.Op)
}

// applyAll adds all records up, or none. undo takes them back.
func (t *table) applyAll(records []record) (undo func(), err error) {
	old := make(map[string]*numbered, len(records))
	undo = func() { t.restore(old) }
	for _, r := range records {
		name := r.subject()
		if _, ok := old[name]; !ok {
			old[name] = t.entries[name]
		}
		if err := t.apply(r); err != nil {
			undo()
			return nil, err
		}
	}
	return undo, nil
}

// restore puts back entries as they were; nil stands for none.
func (t *table) restore(old map[string]*numbered) {
	for name, e := range old {
		if e == nil {
			delete(t.entries, name)
		} else {
			t.entries[name] = e
		}
	}
}

func checkVersion(r record) error {
	if r.Version < 1 || r.Version > version {
		return fmt.Errorf("format %d, but this program knows only %d", r.Version, version)
	}
	return nil
}

func (t *table) add(r record) error {
	switch {
	case r.Spec == nil || r.Spec.Name == "":
		return errors.New("adding a port without a name")
	case t.entries[r.Spec.Name] != nil:
		return fmt.Errorf("adding port %s a second time", r.Spec.Name)
	}
	e := &numbered{Entry: Entry{Spec: r.Spec.Clone(), Phase: Adding}, n: t.next}
	if r.Facts != nil {
		e.Facts = *r.Facts
	}
	t.entries[r.Spec.Name] = e
	t.next++
	return nil
}

func (t *table) change(r record) error {
	was := t.entries[r.Name]
	if was == nil {
		return fmt.Errorf("%s of port %q: %w", r.Op, r.Name, errUnknown)
	}
	e := *was
	switch r.Op {
	case opReady:
		e.Phase, e.Was = Ready, nil
	case opDeleting:
		e.Phase = Deleting
	case opDeleted:
		delete(t.entries, r.Name)
		return nil
	case opSet:
		if r.Spec == nil || r.Spec.Name != r.Name {
			return fmt.Errorf("set of port %s: the spec is missing or another port's", r.Name)
		}
		if e.Was == nil {
			e.Was = &was.Spec
		}
		e.Spec = r.Spec.Clone()
	}
	if r.Facts != nil {
		e.Facts = *r.Facts
	}
	t.entries[r.Name] = &e
	return nil
}

// list is a copy of all entries, in order.
func (t *table) list() []Entry {
	sorted := slices.SortedFunc(maps.Values(t.entries), func(a, b *numbered) int { return a.n - b.n })
	entries := make([]Entry, len(sorted))
	for i, e := range sorted {
		entries[i] = e.Entry
		entries[i].Spec = e.Spec.Clone()
		if e.Was != nil {
			was := e.Was.Clone()
			entries[i].Was = &was
		}
	}
	return entries
}

// records are the fewest that add up to the table, behind a header.
func (t *table) records() []record {
	records := []record{{Op: opHeader, Version: version}}
	for _, e := range t.list() {
		now := e.Spec
		if e.Was != nil {
			e.Spec = *e.Was
		}
		records = append(records, adding(e))
		if e.Phase == Ready {
			records = append(records, record{Op: opReady, Name: now.Name})
		}
		if e.Was != nil {
			records = append(records, set(now))
		}
		if e.Phase == Deleting {
			records = append(records, record{Op: opDeleting, Name: now.Name})
		}
	}
	return records
}

func adding(e Entry) record {
	r := record{Op: opAdding, Spec: &e.Spec}
	if e.Facts != (Facts{}) {
		r.Facts = &e.Facts
	}
	return r
}

// named are a record of op for each name.
func named(o op, names []string) []record {
	records := make([]record, len(names))
	for i, name := range names {
		records[i] = record{Op: o, Name: name}
	}
	return records
}

// set is the record of a changed spec.
func set(spec api.PortSpec) record {
	return record{Op: opSet, Name: spec.Name, Spec: &spec}
}
