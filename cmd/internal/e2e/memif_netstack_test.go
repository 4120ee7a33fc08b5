package e2e

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestMemifNetstack: a program with a stack of its own, in a namespace with lo
// alone and without any privilege, serves 100 MB to curl on the wire, and
// fetches as much from there, intact.
func TestMemifNetstack(t *testing.T) {
	nictest.Require(t, "curl", "python3", "setpriv")
	const size = 100 << 20
	m := newMachine(t, nictest.Config{Containers: 1})
	m.openRunDir()
	m.attach()
	n := newNetstack(t, m)

	serving := n.start(t, "serve", n.add("serving", a4+"/16"))
	nictest.Eventually(t, "the server", func() bool { return strings.Contains(serving.Output(), "serving http://"+a4) })
	got := filepath.Join(t.TempDir(), "got")
	head := m.Wire.Run(t, "curl", "-sS", "--fail", "-m", "300", "-D", "-", "-o", got, fmt.Sprintf("http://%s/bytes/%d", a4, size))
	data, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) != size || !strings.Contains(head, "Repr-Digest: "+digestOf(data)) {
		t.Errorf("%d bytes arrived of %d, and not those that were sent:\n%s", len(data), size, head)
	}

	dir := t.TempDir()
	want := randomFile(t, filepath.Join(dir, "blob"), size)
	srv := m.Wire.Start(t, "python3", "-u", "-m", "http.server", "-d", dir, "-b", wire4, "8000")
	nictest.Eventually(t, "the HTTP server", func() bool { return strings.Contains(srv.Output(), "Serving") })
	fetching := n.start(t, "fetch", "--timeout", "300s", n.add("fetching", b4+"/16"), "http://"+wire4+":8000/blob")
	if err := fetching.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, fetching.Output())
	}
	if out := fetching.Output(); !strings.HasPrefix(out, fmt.Sprint(size, " bytes in ")) || !strings.Contains(out, encoded(want)) {
		t.Errorf("it fetched %s", out)
	}
	t.Logf("fetched %s", fetching.Output())
}

// netstack is the example program, where nobody can reach it.
type netstack struct {
	m            *machine
	dir, program string
}

func newNetstack(t *testing.T, m *machine) *netstack {
	t.Helper()
	n := &netstack{m: m, dir: filepath.Dir(m.runDir)}
	n.program = filepath.Join(n.dir, "netstack")
	if err := putNetstack(n.program); err != nil {
		t.Fatal(err)
	}
	return n
}

// putNetstack copies the program that XDPDEMUX_TEST_NETSTACK names, as make test
// does, or else builds it.
func putNetstack(path string) error {
	if built := os.Getenv("XDPDEMUX_TEST_NETSTACK"); built != "" {
		data, err := os.ReadFile(built)
		return errors.Join(err, os.WriteFile(path, data, 0o755))
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", path, ".")
	cmd.Dir = "../../../examples/netstack"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building netstack: %w\n%s", err, out)
	}
	return nil
}

// add adds a port, and returns the file with what add printed.
func (n *netstack) add(name, ips string) string {
	n.m.t.Helper()
	id, file := fmt.Sprint(nobody), filepath.Join(n.dir, name+".json")
	printed := n.m.run("add", name, "--kind", "memif", "--ip", ips, "--uid", id, "--gid", id, "-o", "json")
	if err := os.WriteFile(file, []byte(printed), 0o644); err != nil {
		n.m.t.Fatal(err)
	}
	return file
}

func (n *netstack) start(t *testing.T, args ...string) *nictest.Process {
	t.Helper()
	id := fmt.Sprint(nobody)
	args = append([]string{"--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
		n.program}, args...)
	return n.m.Containers[0].Start(t, "setpriv", args...)
}

// digestOf is a checksum as RFC 9530 writes it.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return encoded(sum[:])
}

func encoded(sum []byte) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum) + ":"
}
