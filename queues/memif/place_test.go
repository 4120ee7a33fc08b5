package memif

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/internal/nstest"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
)

// stat is what ls would show.
func stat(t *testing.T, path string) (uid, gid int, mode uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid), int(st.Gid), st.Mode
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files to somebody else")
	}
}

func openIn(t *testing.T, s *Server, cfg Config) (*Queue, error) {
	t.Helper()
	q, err := s.Open(cfg)
	if err == nil {
		t.Cleanup(func() {
			if err := q.Remove(); err != nil {
				t.Error(err)
			}
		})
	}
	return q, err
}

// The directory and the socket belong to the client, nobody else can enter,
// and nothing else is in it.
func TestDirectoryAndSocket(t *testing.T) {
	requireRoot(t)
	dir := filepath.Join(t.TempDir(), "above", "port")
	s := newTestServer(t)
	for _, c := range []struct {
		uid, gid          int
		dirMode, sockMode uint32
	}{
		{12345, -1, unix.S_IFDIR | 0o700, unix.S_IFSOCK | 0o600},
		{12345, 54321, unix.S_IFDIR | 0o770, unix.S_IFSOCK | 0o660},
		{-1, 54321, unix.S_IFDIR | 0o770, unix.S_IFSOCK | 0o660},
		{-1, -1, unix.S_IFDIR | 0o700, unix.S_IFSOCK | 0o600},
	} {
		q, err := s.Open(Config{Directory: dir, UID: c.uid, GID: c.gid})
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]uint32{dir: c.dirMode, q.SocketPath(): c.sockMode} {
			uid, gid, mode := stat(t, path)
			if uid != max(c.uid, 0) || gid != max(c.gid, 0) || mode != want {
				t.Errorf("%+v: %s belongs to %d:%d, mode %o, want %o", c, path, uid, gid, mode, want)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != SocketName {
			t.Errorf("in the directory: %v, %v", entries, err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(q.SocketPath()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Close: %v", err)
		}
		if uid, _, _ := stat(t, dir); uid != max(c.uid, 0) {
			t.Error("after Close the directory is another's")
		}
		if err := q.Remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after Remove: %v", err)
		}
	}
}

// A socket that a dead daemon left is replaced. So is the directory's content
// left as it is where the client owns it.
func TestStaleSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "port")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, SocketName), Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	s := newTestServer(t)
	cfg := Config{Directory: dir, UID: -1, GID: -1}
	if _, err := openIn(t, s, cfg); err == nil || !strings.Contains(err.Error(), "somebody listens") {
		t.Fatalf("beside a daemon that lives: %v", err)
	}
	if c, err := net.DialUnix("unixpacket", nil, l.Addr().(*net.UnixAddr)); err != nil {
		t.Errorf("the other's socket: %v", err)
	} else {
		c.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	q, err := openIn(t, s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	connected(t, q, small())
	if _, err := openIn(t, s, cfg); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "somebody listens") {
		t.Errorf("the same once more: %v", err)
	}
}

// Whatever a client has put into its directory, nothing outside of it changes.
func TestHostileDirectory(t *testing.T) {
	requireRoot(t)
	const uid = 12345
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o640); err != nil {
		t.Fatal(err)
	}
	otherDir := t.TempDir()
	s := newTestServer(t)
	for _, c := range []struct {
		name, says string
		prepare    func(dir string) error
	}{
		{"a link in place of the directory", "no directory", func(dir string) error { return os.Symlink(otherDir, dir) }},
		{"a file in place of the directory", "no directory", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
		{"somebody else's directory", "belongs to user 777", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 777, 777))
		}},
		{"a directory in use", "it holds", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "x"), nil, 0o600))
		}},
		{"a link in place of the socket", "is no socket", theirs(uid, func(socket string) error { return os.Symlink(outside, socket) })},
		{"a link to nothing", "is no socket", theirs(uid, func(socket string) error { return os.Symlink("/nowhere", socket) })},
		{"a file in place of the socket", "is no socket", theirs(uid, func(socket string) error { return os.WriteFile(socket, nil, 0o600) })},
		{"a hard link in place of the socket", "is no socket", theirs(uid, func(socket string) error { return os.Link(outside, socket) })},
		{"a directory in place of the socket", "is no socket", theirs(uid, func(socket string) error { return os.Mkdir(socket, 0o700) })},
		{"a directory that is right", "", theirs(uid, func(string) error { return nil })},
		{"files of the client's own", "", theirs(uid, func(socket string) error { return os.WriteFile(socket+".log", nil, 0o600) })},
	} {
		dir := filepath.Join(t.TempDir(), "port")
		if err := c.prepare(dir); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatalf("%s: %v", c.name, err)
		}
		q, err := s.Open(Config{Directory: dir, UID: uid, GID: -1})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if err == nil {
			connected(t, q, small()).leave()
			if err := q.Remove(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if owner, _, mode := stat(t, outside); owner != 0 || mode != unix.S_IFREG|0o640 {
			t.Errorf("%s: the file outside belongs to %d now, mode %o", c.name, owner, mode)
		}
		if entries, err := os.ReadDir(otherDir); err != nil || len(entries) != 0 {
			t.Errorf("%s: in another directory: %v, %v", c.name, entries, err)
		}
	}
}

// theirs is a directory of the client's with something in place of the socket.
func theirs(uid int, put func(socket string) error) func(dir string) error {
	return func(dir string) error {
		return errors.Join(os.Mkdir(dir, 0o700), put(filepath.Join(dir, SocketName)), os.Chown(dir, uid, uid))
	}
}

// What the client puts in place of the socket later stays when we go.
func TestReplacedSocketStays(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	if err := os.Remove(q.SocketPath()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(q.SocketPath(), []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := q.Remove(); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(q.SocketPath()); err != nil || string(b) != "theirs" {
		t.Errorf("%q, %v", b, err)
	}
}

// A directory whose name has become another's stays as well.
func TestReplacedDirectoryStays(t *testing.T) {
	s := newTestServer(t)
	q := openQueue(t, s, Config{})
	dir := filepath.Dir(q.SocketPath())
	if err := os.Rename(dir, dir+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := q.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

// An abstract socket is another one in each network namespace.
func TestAbstractSocket(t *testing.T) {
	ns := nstest.New(t)
	s := newTestServer(t)
	name := "memif-test-" + rand.Text() // the namespace here is not ours alone
	here := openQueue(t, s, Config{Abstract: name})
	there := openQueue(t, s, Config{Abstract: name, NetNS: ns})
	if path := there.SocketPath(); path != "@"+name {
		t.Errorf("the socket is at %s", path)
	}
	connected(t, here, small())
	if isConnected(there) {
		t.Error("the client is connected elsewhere")
	}
	r := newClient(t, small())
	if err := ns.Do(func() error { return r.connect(there.SocketPath()) }); err != nil {
		t.Fatal(err)
	}
	if !isConnected(there) {
		t.Error("the client is not connected there")
	}
	if _, err := s.Open(Config{Abstract: name, NetNS: ns, UID: -1, GID: -1}); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("the same once more: %v", err)
	}
}

// Who may use an abstract socket is decided by who asks.
func TestAdmits(t *testing.T) {
	us := unix.Geteuid()
	for _, c := range []struct {
		cfg      Config
		uid, gid uint32
		want     bool
	}{
		{Config{Abstract: "x", UID: -1, GID: -1}, 777, 777, true},
		{Config{Abstract: "x", UID: 777, GID: -1}, 777, 1, true},
		{Config{Abstract: "x", UID: 777, GID: -1}, 778, 777, false},
		{Config{Abstract: "x", UID: -1, GID: 777}, 778, 777, true},
		{Config{Abstract: "x", UID: -1, GID: 777}, 778, 778, false},
		{Config{Abstract: "x", UID: 777, GID: 777}, 778, 777, true},
		{Config{Abstract: "x", UID: 777, GID: 777}, 0, 0, true},
		{Config{Abstract: "x", UID: 777, GID: 777}, uint32(us), 778, true},
		{Config{Directory: "/x", UID: 777, GID: 777}, 778, 778, true}, // the file's mode decides
	} {
		if got := c.cfg.admits(unix.Ucred{Uid: c.uid, Gid: c.gid}); got != c.want {
			t.Errorf("%+v admits %d:%d: %v", c.cfg, c.uid, c.gid, got)
		}
	}
}

func TestValidate(t *testing.T) {
	here := func(change func(*Config)) Config {
		c := Config{Directory: "/x"}
		change(&c)
		return c
	}
	for _, c := range []struct {
		cfg  Config
		says string
	}{
		{here(func(c *Config) {}), ""},
		{here(func(c *Config) { c.Secret, c.Name = strings.Repeat("x", 23), strings.Repeat("x", 31) }), ""},
		{here(func(c *Config) { c.Rings, c.RingSize, c.MaxFrame = 255, 16384, 65535 }), ""},
		{Config{}, "either in a directory"},
		{Config{Directory: "/x", Abstract: "x"}, "either in a directory"},
		{Config{Abstract: strings.Repeat("x", 101)}, "at most 100"},
		{here(func(c *Config) { c.UID = -2 }), "user -2"},
		{here(func(c *Config) { c.Secret = strings.Repeat("x", 24) }), "24 bytes"},
		{here(func(c *Config) { c.Secret = "a\x00b" }), "NUL"},
		{here(func(c *Config) { c.Name = strings.Repeat("x", 32) }), "32 bytes"},
		{here(func(c *Config) { c.Rings = 256 }), "256 rings"},
		{here(func(c *Config) { c.Rings = -1 }), "-1 rings"},
		{here(func(c *Config) { c.RingSize = 1000 }), "power of two"},
		{here(func(c *Config) { c.RingSize = 1 }), "power of two"},
		{here(func(c *Config) { c.RingSize = 32768 }), "power of two"},
		{here(func(c *Config) { c.BufferSize = -1 }), "buffers of -1"},
		{here(func(c *Config) { c.MaxFrame = 59 }), "59 bytes"},
		{here(func(c *Config) { c.MaxFrame = 65536 }), "65536 bytes"},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.says)
		}
	}
}

// What the defaults of DPDK bring fits, and so does what a queue's own Config
// asks for.
func TestMemoryFits(t *testing.T) {
	for _, c := range []struct {
		cfg    Config
		layout shm.Layout
	}{
		{Config{}, shm.Layout{Rings: 1, Log2: 10, BufferSize: 2048}},
		{Config{Rings: 4, RingSize: 16384}, shm.Layout{Rings: 4, Log2: 14, BufferSize: 2048}},
		{Config{RingSize: 2}, shm.Layout{Rings: 1, Log2: 1, BufferSize: 2048}},
		{Config{BufferSize: 9216}, shm.Layout{Rings: 1, Log2: 10, BufferSize: 9216}},
		{Config{MaxFrame: 9216}, shm.Layout{Rings: 1, Log2: 10, BufferSize: 9216}},
	} {
		cfg := c.cfg.withDefaults()
		if need := c.layout.Size(); need > cfg.maxMemory() || need < cfg.maxMemory()/4 && need > 1<<20 {
			t.Errorf("%+v: a client needs %d bytes, %d are taken", c.cfg, need, cfg.maxMemory())
		}
	}
}
