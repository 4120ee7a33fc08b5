// Package state keeps on disk what must survive the daemon: which ports there
// are and how far each has come, in an append-only journal, and what attach
// changed on the NIC.
//
// A call that records something returns when it is on disk. Whatever the
// daemon does to the machine, it records the intention before and the success
// after, so that a crash between any two steps leaves a phase that tells the
// next start what to finish or to undo.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/lockfile"
)

// The files in the directory of a NIC.
const (
	journalName = "ports.journal"
	attachName  = "attach.json"
	lockName    = "lock"
)

// Store is the state of one NIC, held by one process. Its methods may be
// called from several goroutines at once.
type Store struct {
	dir  string
	lock *lockfile.Lock

	mu     sync.Mutex
	table  *table
	file   *os.File // the journal, open for appending
	lines  int      // in the journal
	broken bool     // a write failed: the file may hold half a record
	fresh  bool     // there was no journal before Open

	compactAt int // the number of lines from which on to rewrite it
}

// Attached says, without making or locking anything, whether a daemon holds the
// NIC or died without giving it back.
func Attached(dir, nic string) bool {
	_, err := os.Stat(filepath.Join(dir, nic, attachName))
	return err == nil
}

// Open locks the state of a NIC under dir and reads it, making the directory
// (0700) if need be; Close removes what Open made and nothing was put into. A
// journal that is there is rewritten without what has become void. If another process holds the state, the error is a
// CodeConflict that wraps a *lockfile.HeldError; if the journal is damaged, a
// *CorruptError.
func Open(dir, nic string) (_ *Store, err error) {
	s := &Store{dir: filepath.Join(dir, nic)}
	if s.lock, err = lockfile.AcquireIn(s.dir, lockName, 0o700); err != nil {
		return nil, held(nic, err)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.closeFile(), s.removeUnused(), s.lock.Release())
	}
	return s, nil
}

// held says what to do about a lock that another daemon has.
func held(nic string, err error) error {
	if _, ok := errors.AsType[*lockfile.HeldError](err); !ok {
		return unusable(nic, err)
	}
	return api.Errorf(api.CodeConflict, "state of NIC %s: %w", nic, err).
		WithHint("detach the daemon that has it, or choose another --state-dir")
}

func (s *Store) load() error {
	path := s.path(journalName)
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.fresh = err != nil
	if s.table, err = read(path, data); err != nil {
		return err
	}
	return s.compact()
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// Dir is the directory of this NIC's state.
func (s *Store) Dir() string { return s.dir }

// Entries are all ports in the order in which they were added. The slice and
// what it points to are the caller's.
func (s *Store) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.list()
}

// Adding records that ports are about to be made; their Phase is ignored. It
// fails, and records none, if one of the names exists in any phase.
func (s *Store) Adding(entries ...Entry) error {
	records := make([]record, len(entries))
	for i, e := range entries {
		records[i] = adding(e)
	}
	return s.commit(records)
}

// Ready records that ports exist now, and are as they were set.
func (s *Store) Ready(names ...string) error { return s.commit(named(opReady, names)) }

// Set records that ports are from now on as these specs say. Record it before
// the change is made, and Ready after: a start after a crash makes a port what
// its spec says, and what it was stands beside it until then.
func (s *Store) Set(specs ...api.PortSpec) error {
	records := make([]record, len(specs))
	for i, spec := range specs {
		records[i] = set(spec)
	}
	return s.commit(records)
}

// Fact is a port and what is now known of it.
type Fact struct {
	Name string
	Facts
}

// SetFacts records new facts of ports that exist, such as the slot that a
// restarted daemon gave them. Their phase becomes Ready.
func (s *Store) SetFacts(facts ...Fact) error {
	records := make([]record, len(facts))
	for i := range facts {
		records[i] = record{Op: opReady, Name: facts[i].Name, Facts: &facts[i].Facts}
	}
	return s.commit(records)
}

// Deleting records that ports are about to be removed.
func (s *Store) Deleting(names ...string) error { return s.commit(named(opDeleting, names)) }

// Deleted records that ports are gone, and forgets them.
func (s *Store) Deleted(names ...string) error { return s.commit(named(opDeleted, names)) }

// Close lets the state go. What was recorded stays; where nothing was, nothing
// that Open made does.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.closeFile(), s.removeUnused(), s.lock.Release())
}

// removeUnused removes a journal that this Store began and that holds no port.
func (s *Store) removeUnused() error {
	if !s.fresh || s.table == nil || len(s.table.list()) > 0 {
		return nil
	}
	err := os.Remove(s.path(journalName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (s *Store) closeFile() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// unusable is for a directory that cannot be made or locked. What the user
// lacks, if it is a privilege, the command line says.
func unusable(nic string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("state directory of NIC %s: %w", nic, err)
	}
	return api.Errorf(api.CodeFailed, "state directory of NIC %s: %w", nic, err).WithHint("choose another with --state-dir")
}
