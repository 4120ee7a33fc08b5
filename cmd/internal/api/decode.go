package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// DecodeStrict reads one JSON value. A field that v has not is an error that
// names it, and so is anything behind the value; errors speak of JSON alone.
func DecodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return plain(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("something stands behind the JSON value")
	}
	return nil
}

// plain rewords an error of encoding/json for somebody who does not know Go.
func plain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		what := map[string]string{"string": "a string", "int": "a whole number", "uint16": "a whole number below 65536",
			"bool": "true or false", "slice": "a list"}
		want, ok := what[e.Type.String()]
		if !ok {
			want, ok = what[e.Type.Kind().String()]
		}
		if !ok {
			want = "a " + e.Type.Name()
		}
		return fmt.Errorf("%s: %s where %s belongs", e.Field, e.Value, want)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("it ends too early")
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}
