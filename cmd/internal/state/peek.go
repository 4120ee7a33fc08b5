package state

import (
	"errors"
	"os"
	"path/filepath"
)

// Peek reads which ports there are, in the order in which they were added,
// and locks, makes and changes nothing. While a daemon writes, the last of them
// may be missing. No journal is no error.
func Peek(dir, nic string) ([]Entry, error) {
	path := filepath.Join(dir, nic, journalName)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := read(path, data)
	if err != nil {
		return nil, err
	}
	return t.list(), nil
}
