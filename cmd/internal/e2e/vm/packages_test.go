//go:build vm

package vm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// archive is a suite of Debian's, with lists and packages in a directory of its
// own: the machine's are neither changed nor used.
type archive struct {
	dir string
}

// openArchive reads the lists of a suite from the mirror that the machine uses.
// Where it cannot be had the test is skipped.
func openArchive(t *testing.T, suite string) *archive {
	t.Helper()
	a := &archive{t.TempDir()}
	for _, dir := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mirror, err := mirrorOf()
	if err != nil {
		nictest.Missing(t, fmt.Sprintf("Debian's suite %s: %v", suite, err))
	}
	line := fmt.Sprintf("deb [arch=amd64 target=Packages] %s %s main\n", mirror, suite)
	if err := os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := a.apt("apt-get", "-q", "--error-on=any", "update"); err != nil {
		nictest.Missing(t, fmt.Sprintf("Debian's suite %s: %v", suite, err))
	}
	return a
}

// mirrorOf is where the machine has Debian's packages from.
func mirrorOf() (string, error) {
	out, err := output(exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"))
	first, _, _ := strings.Cut(out, "\n")
	if err == nil && first == "" {
		err = errors.New("apt knows no mirror of Debian's here; is there one, and has apt-get update been run?")
	}
	return first, err
}

// apt runs a program of apt's on this archive.
func (a *archive) apt(program string, args ...string) (string, error) {
	cmd := exec.Command(program, append([]string{
		"-o", "Dir::Etc::sourcelist=" + filepath.Join(a.dir, "sources.list"), "-o", "Dir::Etc::sourceparts=-",
		"-o", "Dir::State::lists=" + filepath.Join(a.dir, "lists"), "-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none",
	}, args...)...)
	cmd.Dir = a.dir
	return output(cmd)
}

// output runs a command and returns what it printed; an error has what it said.
func output(cmd *exec.Cmd) (string, error) {
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out, said.Bytes())
	}
	return string(out), err
}

var kernelPackage = regexp.MustCompile(`^\s*(?:Pre)?Depends: (linux-(?:image|binary|modules)-[0-9]\S*)$`)

// fetchKernel downloads the suite's kernel for cloud machines, all packages that
// it is made of, and unpacks them into the directory that it returns.
func (a *archive) fetchKernel(t *testing.T) (root string) {
	t.Helper()
	root = filepath.Join(a.dir, "root")
	packages := []string{"linux-image-cloud-amd64"}
	for i := 0; i < len(packages); i++ {
		out, err := a.apt("apt-cache", "depends", packages[i])
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out) {
			if m := kernelPackage.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
				packages = append(packages, m[1])
			}
		}
	}
	if len(packages) == 1 {
		nictest.Missing(t, "a kernel for cloud machines in the suite")
	}
	if _, err := a.apt("apt-get", append([]string{"-q", "download"}, packages[1:]...)...); err != nil {
		nictest.Missing(t, err.Error())
	}
	files, _ := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	for _, file := range files {
		if _, err := output(exec.Command("dpkg-deb", "-x", file, root)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// find is the one file below a directory whose path matches.
func find(t *testing.T, root, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	var found []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && expression.MatchString(path) {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files like %s in the kernel's packages, wanted one: %v %v", len(found), pattern, found, err)
	}
	return found[0]
}
