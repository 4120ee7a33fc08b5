package config

import (
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Sources are where settings come from.
type Sources struct {
	// Flags that were given, by Setting.Key.
	Flags map[string]string
	// Getenv looks up an environment variable; "" means unset.
	Getenv func(string) string
	// ReadFile reads a file.
	ReadFile func(string) ([]byte, error)
	// File to read; it must exist. Empty means that of XDPDEMUX_CONFIG, and
	// without that DefaultFile if it exists.
	File string
}

// Load is the settings by flag over environment over file over default. They
// are not validated together. Errors are *api.Error that name where the
// value stands; a wrong one is CodeUsage.
func Load(from Sources) (Attach, error) {
	a := Defaults()
	if err := from.applyFile(&a); err != nil {
		return a, err
	}
	for _, s := range Settings() {
		if value := from.Getenv(s.Env()); value != "" {
			if err := s.Set(&a, value); err != nil {
				return a, usage("correct or unset it", "environment variable %s: %w", s.Env(), err)
			}
		}
		if value, ok := from.Flags[s.Key]; ok {
			if err := s.Set(&a, value); err != nil {
				return a, usage("see --help", "flag --%s: %w", s.Flag(), err)
			}
		}
	}
	return a, nil
}

func (from *Sources) applyFile(a *Attach) error {
	path, must := from.File, true
	if path == "" {
		path = from.Getenv("XDPDEMUX_CONFIG")
	}
	if path == "" {
		path, must = DefaultFile, false
	}
	data, err := from.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !must:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return api.Errorf(api.CodePermission, "configuration: %w", err)
	case err != nil:
		return usage("name a file that can be read", "configuration: %w", err)
	}
	return applyTOML(a, path, data)
}

func applyTOML(a *Attach, path string, data []byte) error {
	values, err := parseTOML(path, data)
	if err != nil {
		return err
	}
	known := make(map[string]Setting)
	for _, s := range Settings() {
		known[s.Key] = s
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		where := place{path: path, line: lineOf(data, key)}
		s, ok := known[key]
		if !ok {
			return usage("see docs/CLI.md for the keys", "%v: there is no setting %q", where, key)
		}
		if err := s.setTOML(a, values[key]); err != nil {
			return usage("correct it", "%v: %s: %w", where, key, err)
		}
	}
	return nil
}

func parseTOML(path string, data []byte) (map[string]any, error) {
	values := map[string]any{}
	_, err := toml.Decode(string(data), &values)
	if err == nil {
		return values, nil
	}
	where := place{path: path}
	message := err.Error()
	if e, ok := errors.AsType[toml.ParseError](err); ok {
		where.line, message = e.Position.Line, e.Message
	}
	return nil, usage("correct it; this should be TOML", "%v: %s", where, message)
}
