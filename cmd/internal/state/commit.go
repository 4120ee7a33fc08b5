package state

import (
	"errors"
	"fmt"
	"os"
)

// compactAbove is how many lines more than twice those of the last rewriting
// the journal may grow to before it is rewritten while the daemon runs.
const compactAbove = 4096

// commit puts records on disk with one write and one fsync, all or none as far
// as a caller that lives can tell.
func (s *Store) commit(records []record) error {
	if len(records) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		if err := s.compact(); err != nil {
			return err
		}
	}
	undo, err := s.table.applyAll(records)
	if err != nil {
		return err
	}
	if err := s.write(records); err != nil {
		undo()
		return fmt.Errorf("recording in %s: %w", s.path(journalName), err)
	}
	s.compactIfWorthIt()
	return nil
}

// write appends lines. A failure may have left a part of them behind, which
// must not stand in front of later ones: the journal counts as broken until it
// has been rewritten.
func (s *Store) write(records []record) error {
	data, err := encode(records)
	if err != nil {
		return err
	}
	s.broken = true
	if err := fill(s.file, data); err != nil {
		return err
	}
	s.broken = false
	s.lines += len(records)
	return nil
}

// compactIfWorthIt saves space. Where it fails, what was recorded is on disk
// nevertheless, and it is tried again a good while later.
func (s *Store) compactIfWorthIt() {
	if s.lines < s.compactAt {
		return
	}
	s.compactAt = s.lines + compactAbove
	_ = s.compact()
}

// compact rewrites the journal as the table stands and opens it for appending.
// A crash leaves either the old file or the new one.
func (s *Store) compact() error {
	records := s.table.records()
	data, err := encode(records)
	if err != nil {
		return err
	}
	file, err := replaceFile(s.path(journalName), data)
	if file == nil {
		return err
	}
	if s.file != nil {
		s.file.Close() // replaced: what it could still say does not matter
	}
	s.file, s.lines, s.broken = file, len(records), err != nil
	s.compactAt = 2*s.lines + compactAbove
	return err
}

// replaceFile writes data to path in such a way that a crash leaves either what
// was there before or all of data. A file that is returned stands at path,
// positioned at its end, even if there is an error: then a crash of the machine
// may bring back the one before.
func replaceFile(path string, data []byte) (*os.File, error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fill(f, data); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(temp))
	}
	return f, syncDir(path)
}

func fill(f *os.File, data []byte) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
