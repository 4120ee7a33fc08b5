package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/xdp/bpf"
)

// Insert adds rules, all of them or, on an error, none. A rule whose VLAN and
// address stand already takes the place of that one. Thousands at once cost a few
// system calls.
func (p *Program) Insert(rules ...Rule) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
	}
	return p.change(changeOf(rules))
}

// Remove takes rules away; only their VLAN and address count. One that does not
// stand is none to remove.
func (p *Program) Remove(rules ...Rule) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	gone := make(change, len(rules))
	for _, r := range rules {
		if _, stands := p.rules[r.key()]; stands {
			gone[r.key()] = nil
		}
	}
	return p.change(gone)
}

// change says for each key which rule shall stand there; nil is none.
type change map[ruleKey]*Rule

func changeOf(rules []Rule) change {
	c := make(change, len(rules))
	for i := range rules {
		c[rules[i].key()] = &rules[i]
	}
	return c
}

// change makes a change, or, on an error, puts back what stood.
func (p *Program) change(c change) error {
	if err := p.fits(c); err != nil {
		return err
	}
	before := p.standing(c)
	err := p.write(c)
	if err == nil {
		p.remember(c)
		if err = p.writeFlags(); err == nil {
			return nil
		}
		p.remember(before)
	}
	return oneLine(err, p.write(before), p.writeFlags())
}

// fits refuses what is beyond the limits of the tables in lines, which have more
// room than that. The kernel minds those of the others.
func (p *Program) fits(c change) error {
	after := p.held
	for k, r := range c {
		if _, stands := p.rules[k]; stands {
			after[k.table()]--
		}
		if r != nil {
			after[k.table()]++
		}
	}
	for t, limit := range map[table]int{tableMAC: p.limits.MaxMACs, tableExact4: p.limits.MaxExact} {
		if after[t] > limit && after[t] > p.held[t] {
			return fullError(limit, unix.E2BIG)
		}
	}
	return nil
}

// standing is the change that undoes c.
func (p *Program) standing(c change) change {
	before := make(change, len(c))
	for k := range c {
		before[k] = nil
		if r, stands := p.rules[k]; stands {
			before[k] = &r
		}
	}
	return before
}

func (p *Program) remember(c change) {
	for k, r := range c {
		if _, stands := p.rules[k]; stands {
			p.held[k.table()]--
			delete(p.rules, k)
		}
		if r != nil {
			p.held[k.table()]++
			p.rules[k] = *r
		}
	}
}

// writeFlags says which tables hold anything. A table is never looked at while
// its flag is missing, so the flag may come after the entries: until then the
// frames are the host's, as before.
func (p *Program) writeFlags() error {
	var flags uint16
	for t, n := range p.held {
		if n > 0 {
			flags |= table(t).flag()
		}
		if len(p.crowded[t]) > 0 {
			flags |= table(t).crowded()
		}
	}
	if flags == p.flags {
		return nil
	}
	return p.writeSettings(flags)
}

// write brings the maps into the state that c describes, as far as it gets.
func (p *Program) write(c change) error {
	var sorted [tables][]ruleKey
	for k := range c {
		sorted[k.table()] = append(sorted[k.table()], k)
	}
	o := &p.objects
	return oneLine(
		writeLines(p, o.Macs, c, sorted[tableMAC], ruleKey.macKey),
		writeLines(p, o.Exact4, c, sorted[tableExact4], ruleKey.exact4),
		writeTable(o.Exact6, c, sorted[tableExact6], ruleKey.exact6),
		writeTable(o.Prefixes4, c, sorted[tablePrefix4], ruleKey.prefix4),
		writeTable(o.Prefixes6, c, sorted[tablePrefix6], ruleKey.prefix6),
	)
}

// writeLines writes a part of a change into the lines, and into the map what finds
// its line full.
func writeLines[K any](p *Program, m *ebpf.Map, c change, keys []ruleKey, encode func(ruleKey) K) error {
	rest := p.place(c, keys)
	if err := writeTable(m, c, rest, encode); err != nil {
		return err
	}
	for _, k := range rest {
		if c[k] == nil {
			delete(p.crowded[k.table()], k)
		}
	}
	return nil
}

// place writes what belongs into the lines and returns the rest: first what goes,
// which makes room. What is in the map once stays there, where its line has room
// again too, until it is removed.
func (p *Program) place(c change, keys []ruleKey) (rest []ruleKey) {
	for _, k := range keys {
		if c[k] != nil {
			continue
		}
		if _, is := p.crowded[k.table()][k]; is {
			rest = append(rest, k)
			continue
		}
		p.lines.remove(k.word())
	}
	for _, k := range keys {
		r := c[k]
		if r == nil {
			continue
		}
		crowded := p.crowded[k.table()]
		if _, is := crowded[k]; is || !p.lines.put(k.word(), r.owner()) {
			crowded[k] = struct{}{}
			rest = append(rest, k)
		}
	}
	return rest
}

// writeTable writes one table's part of a change.
func writeTable[K any](m *ebpf.Map, c change, keys []ruleKey, encode func(ruleKey) K) error {
	var put, gone []K
	var owners []bpf.SteerOwner
	for _, k := range keys {
		if r := c[k]; r != nil {
			put, owners = append(put, encode(k)), append(owners, bpf.SteerOwner{Kind: r.owner()})
		} else {
			gone = append(gone, encode(k))
		}
	}
	return oneLine(deleteAll(m, gone), putAll(m, put, owners))
}

// putAll writes entries in one call, or one by one where the kernel has no such
// call for the map.
func putAll[K any](m *ebpf.Map, keys []K, owners []bpf.SteerOwner) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := m.BatchUpdate(keys, owners, nil)
	if errors.Is(err, ebpf.ErrNotSupported) {
		err = putEach(m, keys, owners)
	}
	return putError(m, err)
}

func putEach[K any](m *ebpf.Map, keys []K, owners []bpf.SteerOwner) error {
	for i := range keys {
		if err := m.Put(keys[i], owners[i]); err != nil {
			return err
		}
	}
	return nil
}

func putError(m *ebpf.Map, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOSPC):
		return fullError(int(m.MaxEntries()), err)
	}
	return fmt.Errorf("write the program's table: %w", err)
}

func fullError(entries int, err error) error {
	return fmt.Errorf("the program's table holds %d entries and is full: load it with more (%w)", entries, err)
}

// deleteAll deletes entries in one call. That stops at an entry that is missing,
// so what it left is deleted one by one.
func deleteAll[K any](m *ebpf.Map, keys []K) error {
	if len(keys) == 0 {
		return nil
	}
	n, err := m.BatchDelete(keys, nil)
	if err == nil {
		return nil
	}
	for _, k := range keys[min(n, len(keys)):] {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from the program's table: %w", err)
		}
	}
	return nil
}
