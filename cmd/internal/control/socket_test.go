package control

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/lockfile"
)

func TestSocketComesAndGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run", "xdpdemux")
	s, err := Listen(quiet(dir))
	must(t, err)
	info, err := os.Stat(SocketPath(dir, "eth0"))
	must(t, err)
	if info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 2 {
		t.Errorf("not only the socket and the lock: %v", files)
	}
	must(t, s.Shutdown(t.Context()), s.Shutdown(t.Context()))
	if files, _ = os.ReadDir(dir); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

// While the socket has not yet its mode, it stands where nobody can reach it,
// whatever the umask is and whatever stood there before.
func TestRoomOfANewSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".bind")
	must(t, os.Mkdir(dir, 0o777), os.Chmod(dir, 0o777), os.WriteFile(filepath.Join(dir, "s"), nil, 0o666))
	must(t, emptyRoom(dir))
	info, err := os.Stat(dir)
	must(t, err)
	files, err := os.ReadDir(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 || len(files) != 0 {
		t.Errorf("mode %v, %v", info.Mode(), files)
	}
}

func TestSecondDaemon(t *testing.T) {
	dir := t.TempDir()
	first, err := Listen(quiet(dir))
	must(t, err)
	defer first.Shutdown(t.Context())
	_, err = Listen(quiet(dir))
	if api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "NIC eth0: it is already attached by the daemon with PID") {
		t.Errorf("got %v", err)
	}
	other := quiet(dir)
	other.NIC = "eth1"
	second, err := Listen(other)
	must(t, err)
	must(t, second.Shutdown(t.Context()))
	if !hasFile(dir, "eth0.sock") {
		t.Error("the refused daemon took the socket away")
	}
}

// Somebody swept the lock away: the living socket still counts.
func TestSecondDaemonWithoutALock(t *testing.T) {
	dir := t.TempDir()
	first, err := Listen(quiet(dir))
	must(t, err)
	defer first.Shutdown(t.Context())
	must(t, os.Remove(lockPath(dir, "eth0")))
	if _, err := Listen(quiet(dir)); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("got %v", err)
	}
	if hasFile(dir, "eth0.lock") {
		t.Error("the refused daemon left its lock")
	}
}

// leaveStale does what a daemon that is killed does, also half way into bind.
func leaveStale(t *testing.T, dir string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: SocketPath(dir, "eth0"), Net: "unix"})
	must(t, err)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())
	must(t, os.WriteFile(lockPath(dir, "eth0"), []byte("123\n"), 0o600))
	must(t, os.MkdirAll(filepath.Join(dir, ".eth0.bind"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, ".eth0.bind", "s"), nil, 0o600))
}

func TestStaleSocketIsReplaced(t *testing.T) {
	dir := t.TempDir()
	leaveStale(t, dir)
	start(t, quiet(dir), service())
	c := NewClient(dir, "eth0")
	defer c.Close()
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	if Remains(dir, "eth0") {
		t.Error("something remains of nothing")
	}
	must(t, RemoveStale(dir, "eth0"))
	leaveStale(t, dir)
	if !Remains(dir, "eth0") {
		t.Error("nothing remains of a dead daemon")
	}
	must(t, RemoveStale(dir, "eth0"))
	if Remains(dir, "eth0") {
		t.Error("it was not removed")
	}
	s, err := Listen(quiet(dir))
	must(t, err)
	defer s.Shutdown(t.Context())
	if err := RemoveStale(dir, "eth0"); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("a living daemon's socket: %v", err)
	}
	must(t, os.Remove(lockPath(dir, "eth0")))
	if err := RemoveStale(dir, "eth0"); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("a living daemon's socket without a lock: %v", err)
	}
	if !hasFile(dir, "eth0.sock") {
		t.Error("a living daemon's socket is gone")
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path := SocketPath(dir, "eth0")
	must(t, os.WriteFile(path, []byte("mine"), 0o600))
	if _, err := Listen(quiet(dir)); api.CodeOf(err) != api.CodeConflict || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "mine" {
		t.Error("the file was touched")
	}
	if hasFile(dir, "eth0.lock") {
		t.Error("the lock was left")
	}
}

func TestPathTooLong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	_, err := Listen(quiet(dir))
	if api.CodeOf(err) != api.CodeUsage || !strings.Contains(err.Error(), "107") || !strings.Contains(err.Error(), "--run-dir") {
		t.Errorf("got %v", err)
	}
}

func TestRunDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := Listen(quiet(filepath.Join(file, "run"))); err == nil {
		t.Error("a directory in a file")
	}
	if _, err := lockfile.Acquire(file + ".other"); err != nil {
		t.Error(err)
	}
}

func TestDiscover(t *testing.T) {
	dir := t.TempDir()
	if nics, err := Discover(filepath.Join(dir, "none")); len(nics) != 0 || err != nil {
		t.Errorf("%v, %v", nics, err)
	}
	if _, err := Only(dir); api.CodeOf(err) != api.CodeNoDaemon {
		t.Errorf("none: %v", err)
	}
	leaveStale(t, dir)
	must(t, os.WriteFile(filepath.Join(dir, "x.sock"), nil, 0o600))
	if _, err := Only(dir); api.CodeOf(err) != api.CodeNoDaemon {
		t.Errorf("a dead one: %v", err)
	}
	cfg := quiet(dir)
	cfg.NIC = "eth1"
	start(t, cfg, service())
	if nic, err := Only(dir); nic != "eth1" || err != nil {
		t.Errorf("one: %q, %v", nic, err)
	}
	cfg.NIC = "eth2"
	start(t, cfg, service())
	_, err := Only(dir)
	if api.CodeOf(err) != api.CodeUsage || err.Error() != "several daemons run: eth1, eth2; say which with --nic" {
		t.Errorf("two: %v", err)
	}
}
