package state

import (
	"bytes"
	"errors"
	"fmt"
)

// CorruptError says that a journal holds a line that no crash explains.
type CorruptError struct {
	// Path of the journal.
	Path string
	// Line counts from 1.
	Line int
	// Err says what is wrong with it.
	Err error
}

// Error names file and line and says what to do.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%s line %d: %v; mend or delete that line, or move the file away to begin without ports",
		e.Path, e.Line, e.Err)
}

// Unwrap is what is wrong with the line.
func (e *CorruptError) Unwrap() error { return e.Err }

// read adds a journal up. The rest behind the last newline was never
// acknowledged to anybody: a crash cut it, and it does not count. Any line that
// is not a record, or contradicts those before it, is a *CorruptError.
func read(path string, data []byte) (*table, error) {
	t := newTable()
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		if !whole {
			return t, nil
		}
		if err := t.readLine(n, line); err != nil {
			return nil, &CorruptError{Path: path, Line: n, Err: err}
		}
		data = rest
	}
}

func (t *table) readLine(n int, line []byte) error {
	r, err := decode(line)
	if err != nil {
		return err
	}
	if (n == 1) != (r.Op == opHeader) {
		return errors.New("the header must be the first line, and only that")
	}
	return t.apply(r)
}
