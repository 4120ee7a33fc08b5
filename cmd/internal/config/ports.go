package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/portset"
)

// ReadPorts reads the ports of a file for apply and validates each by itself
// and all against each other. The file is TOML with a table [[port]] for each,
// or JSON as the API takes it, {"ports": […]}: JSON is what begins with a
// brace. The keys are those of api.PortSpec; ip, prefix and gateway may stand
// for ips, prefixes and gateways, one string for a list of one, and secret_file
// for secret; read is how such a file is read.
//
// Errors are of CodeUsage or CodeConflict and name the path, and the line or
// the number of the entry.
func ReadPorts(path string, data []byte, read func(string) ([]byte, error)) ([]api.PortSpec, error) {
	tables, lines, err := portTables(path, data)
	if err != nil {
		return nil, err
	}
	set := portset.New()
	for i, table := range tables {
		spec, err := readPort(table, read)
		if err == nil {
			err = set.Add(spec)
		}
		if err != nil {
			return nil, inEntry(path, i, lines, err)
		}
	}
	return set.Specs(), nil
}

// inEntry says where in the file an entry stands.
func inEntry(path string, i int, lines []int, err error) error {
	where := fmt.Sprintf("%s entry %d", path, i+1)
	if lines != nil {
		where = place{path: path, line: lines[i]}.String()
	}
	e := api.AsError(err)
	return &api.Error{Code: e.Code, Message: where + ": " + e.Message, Hint: e.Hint}
}

// portTables are the entries of a file as they stand there; lines is where
// each begins, or nil if that is not known.
func portTables(path string, data []byte) (tables []any, lines []int, err error) {
	var file map[string]any
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		file, err = parseJSON(path, data)
	} else {
		file, err = parseTOML(path, data)
		lines = headerLines(data)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(file)) {
		list, ok := entries(file[key])
		if !ok || tables != nil || (key != "port" && key != "ports") {
			return nil, nil, usage("list the ports as [[port]] tables, or as {\"ports\": […]}",
				"%v: %q is no list of ports", place{path: path, line: lineOf(data, key)}, key)
		}
		tables = list
	}
	if tables == nil {
		return nil, nil, usage("to remove every port, say port = []", "%s: it lists no ports", path)
	}
	if len(lines) != len(tables) {
		lines = nil
	}
	return tables, lines, nil
}

// entries is v as a list; the TOML decoder has a type of its own for [[port]].
func entries(v any) ([]any, bool) {
	switch list := v.(type) {
	case []any:
		return list, true
	case []map[string]any:
		all := make([]any, len(list))
		for i := range list {
			all[i] = list[i]
		}
		return all, true
	}
	return nil, false
}

func parseJSON(path string, data []byte) (map[string]any, error) {
	var file map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&file); err != nil {
		return nil, usage("correct it; this should be JSON", "%v: %w",
			place{path: path, line: lineAt(data, errorOffset(err, dec))}, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, usage("delete it", "%v: something stands behind the JSON value",
			place{path: path, line: lineAt(data, dec.InputOffset())})
	}
	return file, nil
}

func errorOffset(err error, dec *json.Decoder) int64 {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return e.Offset
	}
	return dec.InputOffset()
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(offset, int64(len(data)))], []byte("\n"))
}

// headerLines are the lines of the [[port]] headers. Where a string of several
// lines holds one, their number is wrong, and the caller goes without.
func headerLines(data []byte) []int {
	header := regexp.MustCompile(`^\s*\[\[\s*["']?ports?["']?\s*\]\]`)
	lines, n := []int{}, 0
	for line := range bytes.Lines(data) {
		n++
		if header.Match(line) {
			lines = append(lines, n)
		}
	}
	return lines
}

func readPort(table any, read func(string) ([]byte, error)) (api.PortSpec, error) {
	fields, ok := table.(map[string]any)
	if !ok {
		return api.PortSpec{}, usage("write it as { name = …, ip = … }", "this is no table")
	}
	fields, err := spellOut(fields)
	if err != nil {
		return api.PortSpec{}, err
	}
	var e Entry
	if err := remarshal(fields, &e); err != nil {
		return api.PortSpec{}, usage("see docs/CLI.md for the keys", "%w", err)
	}
	if err := e.ReadSecret(read); err != nil {
		return api.PortSpec{}, err
	}
	return e.Spec()
}

// spellOut turns the short forms of a table into those of an Entry.
func spellOut(fields map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(fields))
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		long := key
		switch key {
		case "ip", "gateway":
			long = key + "s"
		case "prefix":
			long = "prefixes"
		}
		value := fields[key]
		if s, ok := value.(string); ok && slices.Contains([]string{"ips", "prefixes", "gateways"}, long) {
			value = []any{s}
		}
		if _, twice := out[long]; twice {
			return nil, usage("merge the two", "%s is there twice, by its short name as well", long)
		}
		out[long] = value
	}
	return out, nil
}

// remarshal reads fields into e by way of JSON, whose decoder checks types and names.
func remarshal(fields map[string]any, e *Entry) error {
	data, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return api.DecodeStrict(data, e)
}
