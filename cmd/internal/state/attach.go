package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// SaveAttach records what attach is about to change, or has changed, on the
// NIC; v is anything that encoding/json takes. It replaces an earlier record.
// Save before each step, so that clean-up after a crash knows of it.
func (s *Store) SaveAttach(v any) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := replaceFile(s.path(attachName), append(data, '\n'))
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("recording what attach changes: %w", err)
	}
	return nil
}

// LoadAttach reads the record that the last attach left into v. found is false
// if there is none: the last daemon left cleanly, or there never was one.
func (s *Store) LoadAttach(v any) (found bool, err error) {
	data, err := os.ReadFile(s.path(attachName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return true, fmt.Errorf("%s: %w; it says what attach changed on the NIC: mend it, or give the NIC back by hand and delete it",
			s.path(attachName), err)
	}
	return true, nil
}

// RemoveAttach says that the NIC is as it was found. No record is no error.
func (s *Store) RemoveAttach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.path(attachName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(path)
}

// syncDir puts on disk that a file of this name is there, or is not.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
