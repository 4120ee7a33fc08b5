package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// go generate sets it.
var update = flag.Bool("update", false, "write docs/api.schema.json anew")

// object keeps its keys in the order in which they were set.
type object struct {
	keys   []string
	values map[string]any
}

func (o *object) set(key string, value any) *object {
	if o.values == nil {
		o.values = map[string]any{}
	}
	if _, there := o.values[key]; !there {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
	return o
}

func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, key := range o.keys {
		value, err := json.Marshal(o.values[key])
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s%q:%s", map[bool]string{true: "{", false: ","}[i == 0], key, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// source is what the comments and constants of this package say.
type source struct {
	comments map[string]string   // by Type, or Type.Field
	enums    map[string][]string // by type
}

func readSource(t *testing.T) source {
	t.Helper()
	s := source{map[string]string{}, map[string][]string{}}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".go") && !strings.HasSuffix(f.Name(), "_test.go") {
			tree, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			s.read(tree)
		}
	}
	return s
}

func (s *source) read(tree *ast.File) {
	for _, decl := range tree.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range group.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				s.readType(spec, group.Doc)
			case *ast.ValueSpec:
				s.readConst(spec)
			}
		}
	}
}

func (s *source) readType(spec *ast.TypeSpec, doc *ast.CommentGroup) {
	s.comments[spec.Name.Name] = flat(doc)
	fields, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	last := ""
	for _, f := range fields.Fields.List {
		if f.Doc != nil {
			last = flat(f.Doc) // a comment may speak for the fields below as well
		}
		for _, name := range f.Names {
			s.comments[spec.Name.Name+"."+name.Name] = last
		}
	}
}

func (s *source) readConst(spec *ast.ValueSpec) {
	typ, ok := spec.Type.(*ast.Ident)
	if !ok || len(spec.Values) != 1 {
		// PortState's and Code's constants carry their type; others are no enumeration.
		return
	}
	if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
		value := constant.StringVal(constant.MakeFromLiteral(lit.Value, lit.Kind, 0))
		s.enums[typ.Name] = append(s.enums[typ.Name], value)
	}
}

func flat(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }

// schema describes the types of the API (JSON Schema, draft 2020-12).
type schema struct {
	source
	defs *object
}

func (s *schema) of(t reflect.Type) *object {
	switch t {
	case reflect.TypeFor[netip.Prefix]():
		return new(object).set("type", "string").set("description", "CIDR, as 10.0.0.5/24 or 2001:db8::5/64")
	case reflect.TypeFor[netip.Addr]():
		return new(object).set("type", "string").set("description", "IP address")
	case reflect.TypeFor[api.MAC]():
		return new(object).set("type", "string").set("pattern", "^([0-9a-f]{2}(:[0-9a-f]{2}){5})?$")
	case reflect.TypeFor[time.Time]():
		return new(object).set("type", "string").set("format", "date-time")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice:
		return new(object).set("type", "array").set("items", s.of(t.Elem()))
	case reflect.Map:
		return new(object).set("type", "object").set("additionalProperties", s.of(t.Elem()))
	case reflect.Struct:
		s.define(t)
		return new(object).set("$ref", "#/$defs/"+t.Name())
	}
	return s.simple(t)
}

func (s *schema) simple(t reflect.Type) *object {
	switch k := t.Kind(); {
	case k == reflect.String && s.enums[t.Name()] != nil:
		return new(object).set("type", "string").set("enum", s.enums[t.Name()])
	case k == reflect.String:
		return new(object).set("type", "string")
	case k == reflect.Bool:
		return new(object).set("type", "boolean")
	case k >= reflect.Uint && k <= reflect.Uint64:
		return new(object).set("type", "integer").set("minimum", 0)
	case k >= reflect.Int && k <= reflect.Int64:
		return new(object).set("type", "integer")
	}
	if k := t.Kind(); k == reflect.Float64 {
		return new(object).set("type", "number")
	}
	panic("no schema for " + t.String())
}

func (s *schema) define(t reflect.Type) {
	if _, done := s.defs.values[t.Name()]; done {
		return
	}
	def := new(object).set("description", s.comments[t.Name()]).set("type", "object")
	s.defs.set(t.Name(), def)
	properties, required := new(object), []string{}
	s.fields(t, properties, &required)
	def.set("properties", properties)
	if len(required) > 0 {
		def.set("required", required)
	}
	if isRequest(t) {
		def.set("additionalProperties", false)
	}
}

// isRequest says that a client sends it, in which unknown fields are refused.
func isRequest(t reflect.Type) bool {
	return slices.Contains([]string{"PortSpec", "Patch", "AddRequest", "ApplyRequest", "DeleteRequest"}, t.Name())
}

func (s *schema) fields(t reflect.Type, properties *object, required *[]string) {
	for f := range t.Fields() {
		if f.Anonymous {
			s.fields(f.Type, properties, required)
			continue
		}
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := s.of(f.Type)
		if comment := s.comments[t.Name()+"."+f.Name]; comment != "" {
			p.set("description", comment)
		}
		properties.set(name, p)
		if options == "" {
			*required = append(*required, name)
		}
	}
}

// types are all that cross the socket or come out of -o json.
func types() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[api.PortSpec](), reflect.TypeFor[api.Port](), reflect.TypeFor[api.PortList](),
		reflect.TypeFor[api.AddRequest](), reflect.TypeFor[api.Patch](), reflect.TypeFor[api.ApplyRequest](),
		reflect.TypeFor[api.ApplyResult](), reflect.TypeFor[api.DeleteRequest](), reflect.TypeFor[api.DeleteResult](),
		reflect.TypeFor[api.Status](), reflect.TypeFor[api.Stats](), reflect.TypeFor[api.Rates](), reflect.TypeFor[api.Plan](), reflect.TypeFor[api.AttachEvent](),
		reflect.TypeFor[api.DetachResult](), reflect.TypeFor[api.Version](), reflect.TypeFor[api.ErrorReply](),
	}
}

func TestSchemaIsThatOfTheTypes(t *testing.T) {
	s := schema{readSource(t), new(object)}
	for _, typ := range types() {
		s.define(typ)
	}
	whole := new(object).
		set("$schema", "https://json-schema.org/draft/2020-12/schema").
		set("title", "xdpdemux API "+api.Prefix[1:]).
		set("description", "What crosses the control socket and what -o json prints; docs/CLI.md says which where. "+
			"Fields may be added, none is renamed, removed or given another meaning. Written by go generate ./cmd/... from cmd/internal/api.").
		set("$defs", s.defs)
	got, err := json.MarshalIndent(whole, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const path = "../../../docs/api.schema.json"
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s does not fit the types; go generate ./cmd/... writes it anew", path)
	}
}

// Every field of the API has a name of its own in JSON and says what it is.
func TestEveryFieldIsDescribed(t *testing.T) {
	src := readSource(t)
	s := schema{src, new(object)}
	for _, typ := range types() {
		s.define(typ)
	}
	for _, name := range s.defs.keys {
		def := s.defs.values[name].(*object)
		if def.values["description"] == "" {
			t.Errorf("%s is not described", name)
		}
		for _, key := range def.values["properties"].(*object).keys {
			p := def.values["properties"].(*object).values[key].(*object)
			snake := key == strings.ToLower(key) || name == "Endpoint" // whose keys others have fixed
			if key == "" || !snake || p.values["description"] == nil {
				t.Errorf("%s.%s: %v", name, key, p.values["description"])
			}
		}
	}
}
