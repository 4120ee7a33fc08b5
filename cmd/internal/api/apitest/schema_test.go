package apitest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSchemaCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "schema.json")
	const text = `{"$defs": {
		"Thing": {"type": "object", "required": ["name"], "properties": {
			"name": {"type": "string", "pattern": "^[a-z]+$"}, "state": {"type": "string", "enum": ["up", "down"]},
			"n": {"type": "integer", "minimum": 0}, "rate": {"type": "number"}, "on": {"type": "boolean"},
			"list": {"type": "array", "items": {"$ref": "#/$defs/Thing"}},
			"counts": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}}}}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ReadSchema(path)
	if err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{
		`{"name": "a", "state": "up", "n": 0, "rate": 1, "on": true, "list": [{"name": "b"}], "counts": {"x": 1}}`: "",
		`{"name": "a", "rate": 1.5, "list": []}`: "",
		`{"state": "up"}`:                        "name is missing",
		`{"name": "A"}`:                          "does not fit",
		`{"name": "a", "state": "sideways"}`:     "none of",
		`{"name": "a", "n": -1}`:                 "less than",
		`{"name": "a", "n": 1.5}`:                "it is number and no integer",
		`{"name": "a", "n": "1"}`:                "it is string and no integer",
		`{"name": "a", "on": 1}`:                 "it is integer and no boolean",
		`{"name": "a", "list": null}`:            "it is null and no array",
		`{"name": "a", "list": [{"name": 1}]}`:   "Thing.list[0].name: it is integer",
		`{"name": "a", "counts": {"x": -1}}`:     "Thing.counts.x: -1 is less",
		`{"name": "a", "more": 1}`:               `no field "more"`,
		`{"name": "a"} {}`:                       "invalid character",
		`[]`:                                     "it is array and no object",
	} {
		if err := s.Check("Thing", []byte(data)); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", data, err, want)
		}
	}
	if err := s.Check("Other", []byte("{}")); err == nil {
		t.Error("a definition that is not there fits")
	}
	if err := os.WriteFile(path, []byte(`{"$defs": {"A": {"type": "string", "maxLength": 3}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSchema(path); err == nil || !strings.Contains(err.Error(), "maxLength") {
		t.Errorf("a word that is not known: %v", err)
	}
}
