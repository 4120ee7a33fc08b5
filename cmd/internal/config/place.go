package config

import (
	"bytes"
	"fmt"
	"strings"
)

// place is where in a file something stands.
type place struct {
	path string
	line int // from 1; 0 if unknown
}

func (p place) String() string {
	if p.line == 0 {
		return p.path
	}
	return fmt.Sprintf("%s line %d", p.path, p.line)
}

// lineOf finds the line of TOML that sets a key or opens a table of its name; 0
// if none is found. The decoder has seen the key already: this serves messages.
func lineOf(data []byte, key string) int {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		if setsKey(string(line), key) {
			return n
		}
	}
	return 0
}

func setsKey(line, key string) bool {
	rest := strings.TrimLeft(line, " \t[")
	rest = strings.TrimLeft(rest, `"'`)
	rest, ok := strings.CutPrefix(rest, key)
	if !ok {
		return false
	}
	rest = strings.TrimLeft(rest, "\"' \t")
	return rest != "" && strings.ContainsRune("=.]", rune(rest[0]))
}
