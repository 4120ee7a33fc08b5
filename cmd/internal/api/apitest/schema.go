package apitest

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Schema is a JSON schema that knows the words which docs/api.schema.json uses.
type Schema struct {
	defs map[string]node
}

// node is one schema within it.
type node struct {
	Ref                  string          `json:"$ref"`
	Type                 string          `json:"type"`
	Description          string          `json:"description"`
	Format               string          `json:"format"`
	Pattern              string          `json:"pattern"`
	Enum                 []string        `json:"enum"`
	Minimum              *float64        `json:"minimum"`
	Items                *node           `json:"items"`
	Properties           map[string]node `json:"properties"`
	Required             []string        `json:"required"`
	AdditionalProperties json.RawMessage `json:"additionalProperties"`
}

// ReadSchema reads the file at path. A word in it that Schema does not know is an
// error, for Check would pass over it.
func ReadSchema(path string) (*Schema, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Schema      string          `json:"$schema"`
		Title       string          `json:"title"`
		Description string          `json:"description"`
		Defs        map[string]node `json:"$defs"`
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Schema{file.Defs}, nil
}

// Check says whether data is one JSON value that fits a definition. It is
// stricter than the schema in one thing: a field that the definition does not
// have is an error, also where a client must bear it.
func (s *Schema) Check(def string, data []byte) error {
	n, ok := s.defs[def]
	if !ok {
		return fmt.Errorf("the schema has no %q", def)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("%s: %w", def, err)
	}
	return s.check(def, &n, v)
}

func (s *Schema) check(at string, n *node, v any) error {
	if n.Ref != "" {
		def := strings.TrimPrefix(n.Ref, "#/$defs/")
		target, ok := s.defs[def]
		if !ok {
			return fmt.Errorf("%s: the schema has no %q", at, n.Ref)
		}
		return s.check(at, &target, v)
	}
	if got := typeOf(v); got != n.Type && !(n.Type == "number" && got == "integer") {
		return fmt.Errorf("%s: it is %s and no %s", at, got, n.Type)
	}
	switch v := v.(type) {
	case string:
		return n.checkString(at, v)
	case float64:
		if n.Minimum != nil && v < *n.Minimum {
			return fmt.Errorf("%s: %v is less than %v", at, v, *n.Minimum)
		}
	case []any:
		for i, item := range v {
			if err := s.check(fmt.Sprintf("%s[%d]", at, i), n.Items, item); err != nil {
				return err
			}
		}
	case map[string]any:
		return s.checkObject(at, n, v)
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	}
	return "object"
}

func (n *node) checkString(at, v string) error {
	if n.Pattern != "" && !regexp.MustCompile(n.Pattern).MatchString(v) {
		return fmt.Errorf("%s: %q does not fit %s", at, v, n.Pattern)
	}
	if n.Enum != nil && !slices.Contains(n.Enum, v) {
		return fmt.Errorf("%s: %q is none of %q", at, v, n.Enum)
	}
	return nil
}

func (s *Schema) checkObject(at string, n *node, v map[string]any) error {
	for _, name := range n.Required {
		if _, ok := v[name]; !ok {
			return fmt.Errorf("%s: %s is missing", at, name)
		}
	}
	for name, value := range v {
		p, ok := n.Properties[name]
		if !ok && json.Unmarshal(n.AdditionalProperties, &p) != nil {
			return fmt.Errorf("%s: there is no field %q", at, name)
		}
		if err := s.check(at+"."+name, &p, value); err != nil {
			return err
		}
	}
	return nil
}
