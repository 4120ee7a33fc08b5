package docs

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/xdpdemux/xdpdemux"

// pkg is what the Go command says of one package.
type pkg struct {
	ImportPath string
	Dir        string
	Imports    []string
	Standard   bool
}

// rule is a row of the import table: a room, and what it may import beside the
// standard library and itself.
type rule struct {
	room  string
	allow []string
}

func packages(t *testing.T) (list []pkg) {
	t.Helper()
	out, err := exec.Command("go", "list", "-pgo=off", "-json=ImportPath,Dir,Imports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

var code = regexp.MustCompile("`([^`]+)`")

// importTable reads the rows between the two marks of ARCHITECTURE.md.
func importTable(t *testing.T) (rules []rule) {
	t.Helper()
	f, err := os.Open("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inside := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.Contains(line, "import table begins"):
			inside = true
		case strings.Contains(line, "import table ends"):
			inside = false
		case inside && strings.HasPrefix(line, "| `"):
			cells := strings.SplitN(strings.Trim(line, "| "), "|", 2)
			rules = append(rules, rule{names(cells[0])[0], names(cells[1])})
		}
	}
	return rules
}

func names(cell string) (found []string) {
	for _, m := range code.FindAllStringSubmatch(cell, -1) {
		found = append(found, m[1])
	}
	return found
}

// covers tells whether pattern (a path, or a path and /... for all below it
// too) means name.
func covers(pattern, name string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return name == base || below && strings.HasPrefix(name, base+"/")
}

// short is the name of an import as the table writes it.
func short(path string) string { return strings.TrimPrefix(path, module+"/") }

func standard(path string) bool { return !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") }

func TestImportTableHolds(t *testing.T) {
	rules := importTable(t)
	if len(rules) < 5 {
		t.Fatalf("ARCHITECTURE.md has an import table of %d rows", len(rules))
	}
	used := map[string]bool{}
	for _, p := range packages(t) {
		name := short(p.ImportPath)
		i := slices.IndexFunc(rules, func(r rule) bool { return covers(r.room, name) })
		if i < 0 {
			t.Errorf("package %s stands in no row of the import table", name)
			continue
		}
		used[rules[i].room] = true
		for _, imp := range p.Imports {
			if !standard(imp) && !rules[i].permits(short(imp)) {
				t.Errorf("package %s imports %s, which the row of %s does not allow", name, short(imp), rules[i].room)
			}
		}
	}
	for _, r := range rules {
		if !used[r.room] {
			t.Errorf("the row of %s stands for no package", r.room)
		}
	}
}

func (r rule) permits(imp string) bool {
	return covers(r.room, imp) || slices.ContainsFunc(r.allow, func(a string) bool { return covers(a, imp) })
}

// TestUnsafeStandsInItsFiles: package unsafe is imported in files named
// *_unsafe.go and nowhere else. What bpf2go wrote is not ours to name.
func TestUnsafeStandsInItsFiles(t *testing.T) {
	imports := regexp.MustCompile(`(?m)^\s*(_ )?"unsafe"`)
	generated := regexp.MustCompile(`_bpfe[lb]\.go$`)
	eachGoFile(t, func(path string, text []byte) {
		base := filepath.Base(path)
		named := strings.HasSuffix(base, "_unsafe.go") || strings.HasSuffix(base, "_unsafe_test.go")
		if imports.Match(text) && !named && !generated.MatchString(base) {
			t.Errorf("%s imports unsafe", path)
		}
	})
}

// TestNoHiddenState: no function named init, which would run before anybody
// asked.
func TestNoHiddenState(t *testing.T) {
	hidden := regexp.MustCompile(`(?m)^func init\(\)`)
	eachGoFile(t, func(path string, text []byte) {
		if hidden.Match(text) {
			t.Errorf("%s has an init function", path)
		}
	})
}

func eachGoFile(t *testing.T, do func(path string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			do(path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTopLevel: what lies at the top is what the design lists.
func TestTopLevel(t *testing.T) {
	allowed := strings.Fields("go.mod go.sum xdp demux queues nic cmd bench docs examples bin Makefile README.md LICENSE")
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}
