package demux

import "math/bits"

// A page holds at most pageFull of pageSlots entries and is probed linearly,
// so that every probe ends, and ends within its page. A table grows when its
// pages hold pageMean entries in the mean, and shrinks at pageFew.
const (
	pageSlots = 64
	pageFull  = 44
	pageMean  = 22
	pageFew   = 3
)

// entry is a key and its value; the value 0 means empty.
type entry[K comparable] struct {
	key K
	val uint32
}

type page[K comparable] struct {
	edit uint64 // the edit that made this page and may still change it
	used int
	e    [pageSlots]entry[K]
}

// hashmap is a persistent hash table with open addressing. An edit copies the
// pages that it touches and shares the others with the tables before it, so
// attaching one port of ten thousand copies a few kilobytes, and a worker that
// reads an older table never sees a change.
type hashmap[K comparable] struct {
	pages []*page[K]
	shift uint8 // the upper bits of a hash choose the page
	used  int
	edit  uint64 // the edit that made the slice of pages
	hash  func(K) uint64
}

func newHashmap[K comparable](hash func(K) uint64, pages int, edit uint64) hashmap[K] {
	m := hashmap[K]{hash: hash, pages: make([]*page[K], pages), edit: edit}
	m.shift = uint8(64 - bits.TrailingZeros(uint(pages)))
	for i := range m.pages {
		m.pages[i] = &page[K]{edit: edit}
	}
	return m
}

// get returns the value of key, whose hash is h, or 0. The hash is the
// caller's so that this is one short loop without a call.
func (m *hashmap[K]) get(h uint64, key K) uint32 {
	p := m.pages[h>>m.shift]
	for {
		e := &p.e[h%pageSlots]
		if e.val == 0 || e.key == key {
			return e.val
		}
		h++
	}
}

// put stores the value of key in the table that edit is making.
func (m *hashmap[K]) put(key K, val uint32, edit uint64) {
	h := m.hash(key)
	for m.used >= len(m.pages)*pageMean || m.own(h, edit).used >= pageFull {
		m.resize(len(m.pages)*2, edit)
	}
	p := m.own(h, edit)
	e := p.find(h, key)
	if e.val == 0 {
		p.used++
		m.used++
	}
	*e = entry[K]{key, val}
}

// del forgets key in the table that edit is making.
func (m *hashmap[K]) del(key K, edit uint64) {
	h := m.hash(key)
	if m.get(h, key) == 0 {
		return
	}
	p := m.own(h, edit)
	old := *p
	*p = page[K]{edit: edit, used: old.used - 1}
	for _, e := range old.e {
		if e.val != 0 && e.key != key {
			*p.find(m.hash(e.key), e.key) = e
		}
	}
	if m.used--; len(m.pages) > 1 && m.used < len(m.pages)*pageFew {
		m.resize(len(m.pages)/2, edit)
	}
}

// find returns the entry of key, or the empty one where it belongs.
func (p *page[K]) find(h uint64, key K) *entry[K] {
	for ; ; h++ {
		if e := &p.e[h%pageSlots]; e.val == 0 || e.key == key {
			return e
		}
	}
}

// own returns the page of hash h as a copy that this edit may change.
func (m *hashmap[K]) own(h uint64, edit uint64) *page[K] {
	if m.edit != edit {
		m.pages, m.edit = append([]*page[K](nil), m.pages...), edit
	}
	i := h >> m.shift
	if m.pages[i].edit != edit {
		p := *m.pages[i]
		p.edit = edit
		m.pages[i] = &p
	}
	return m.pages[i]
}

// resize moves all entries into that many new pages.
func (m *hashmap[K]) resize(pages int, edit uint64) {
	old := m.pages
	*m = newHashmap(m.hash, pages, edit)
	for _, p := range old {
		for _, e := range p.e {
			if e.val != 0 {
				m.put(e.key, e.val, edit)
			}
		}
	}
}
