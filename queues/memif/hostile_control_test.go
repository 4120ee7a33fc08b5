package memif

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/queues/memif/internal/shm"
	"github.com/xdpdemux/xdpdemux/queues/memif/internal/wire"
)

// small is the layout of most hostile clients.
func small() shm.Layout { return shm.Layout{Rings: 1, Log2: 4, BufferSize: 1024} }

// controlAttack is one client that says what it should not, and part of the
// reason that it gets.
type controlAttack struct {
	name   string
	says   string
	attack func(t *testing.T, r *raw) error
}

// after does the handshake up to some step, and then the attack's own.
func after(r *raw, steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func controlAttacks() []controlAttack {
	one := func(m wire.Message) func(*testing.T, *raw) error {
		return func(t *testing.T, r *raw) error { return r.ask(m, -1) }
	}
	init := wire.Init{Version: wire.Version, Secret: "s3cret"}
	attacks := []controlAttack{
		{"nothing but zeros", "unknown memif message type", bytesAttack(make([]byte, wire.Size), 0)},
		{"a short message", "128 bytes long", bytesAttack([]byte{3, 0, 0, 2}, 1)},
		{"a long message", "longer than it may be", bytesAttack(make([]byte, 5000), 1)},
		{"ten descriptors at once", "one descriptor at most", bytesAttack(initBytes(init), 10)},
		{"253 descriptors at once", "one descriptor at most", bytesAttack(initBytes(init), 253)},
		{"a descriptor beside INIT", "no use for", bytesAttack(initBytes(init), 1)},
		{"HELLO", "only a server", one(wire.Hello{})},
		{"ACK", "only a server", one(wire.Ack{})},
		{"CONNECTED", "only a server", one(wire.Connected{})},
		{"CONNECT at once", "INIT comes first", one(wire.Connect{})},
		{"version 1.0", "incompatible version 1.0", one(wire.Init{Version: 0x0100, Secret: "s3cret"})},
		{"another id", "no interface 7", one(wire.Init{Version: wire.Version, ID: 7, Secret: "s3cret"})},
		{"IP mode", "mode 1", one(wire.Init{Version: wire.Version, Mode: wire.ModeIP, Secret: "s3cret"})},
		{"no secret", "secret is required", one(wire.Init{Version: wire.Version})},
		{"a wrong secret", "incorrect secret", one(wire.Init{Version: wire.Version, Secret: "s3crets"})},
		{"a secret's beginning", "incorrect secret", one(wire.Init{Version: wire.Version, Secret: "s3cre"})},
		{"a region at once", "between INIT and", func(t *testing.T, r *raw) error { return r.sayRegion() }},
		{"a ring at once", "between the regions", func(t *testing.T, r *raw) error { return r.sayRings() }},
		{"INIT twice", "there was one already", func(t *testing.T, r *raw) error { return after(r, r.sayInit, r.sayInit) }},
	}
	return append(append(attacks, regionAttacks()...), ringAttacks()...)
}

func initBytes(m wire.Init) []byte {
	b := wire.Encode(m)
	return b[:]
}

// bytesAttack sends bytes as they are, with copies of a descriptor.
func bytesAttack(b []byte, fds int) func(*testing.T, *raw) error {
	return func(t *testing.T, r *raw) error {
		var beside []byte
		if fds > 0 {
			copies := make([]int, fds)
			for i := range copies {
				copies[i] = r.file
			}
			beside = unix.UnixRights(copies...)
		}
		if _, _, err := r.conn.Unix().WriteMsgUnix(b, beside, nil); err != nil {
			return err
		}
		m, err := r.hear()
		if err != nil {
			return err
		}
		return refusal(m)
	}
}

func regionAttacks() []controlAttack {
	region := func(m wire.AddRegion, fd func(t *testing.T, r *raw) int) func(*testing.T, *raw) error {
		return func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, func() error { return r.ask(m, fd(t, r)) })
		}
	}
	own := func(t *testing.T, r *raw) int { return r.file }
	size := small().Size()
	return []controlAttack{
		{"a region without a descriptor", "without its descriptor", region(wire.AddRegion{Size: size},
			func(*testing.T, *raw) int { return -1 })},
		{"region 1 first", "region 0 was next", region(wire.AddRegion{Index: 1, Size: size}, own)},
		{"region 65535", "region 0 was next", region(wire.AddRegion{Index: 65535, Size: size}, own)},
		{"region 0 twice", "region 1 was next", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayRegion)
		}},
		{"a region of nothing", "0 bytes", region(wire.AddRegion{}, own)},
		{"a region longer than its file", "shorter than announced", region(wire.AddRegion{Size: size + 1}, own)},
		{"a huge region", "at most", region(wire.AddRegion{Size: 1 << 40}, own)},
		{"a region of 2^64-1 bytes", "at most", region(wire.AddRegion{Size: ^uint64(0)}, own)},
		{"many regions that are too much together", "at most", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, func() error { return regionsUntil(r, size) })
		}},
		{"257 regions", "more than 256 regions", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, func() error { return regionsUntil(r, 64) })
		}},
		{"a file that can shrink", "F_SEAL_SHRINK", region(wire.AddRegion{Size: size}, unsealed)},
		{"a file that cannot be written", "operation not permitted", region(wire.AddRegion{Size: size}, unwritable)},
		{"a pipe for a region", "no memory file", region(wire.AddRegion{Size: size}, pipeEnd)},
		{"a file on a disk for a region", "no memory file", region(wire.AddRegion{Size: 5}, diskFile)},
		{"an eventfd for a region", "no memory file", region(wire.AddRegion{Size: 8},
			func(t *testing.T, r *raw) int { return r.c2s[0].bell })},
	}
}

// regionsUntil adds the same file again and again.
func regionsUntil(r *raw, size uint64) error {
	for i := range uint16(1000) {
		if err := r.ask(wire.AddRegion{Index: i, Size: size}, r.file); err != nil {
			return err
		}
	}
	return errors.New("1,000 regions were taken")
}

func unsealed(t *testing.T, r *raw) int { return memory(t, unix.MFD_ALLOW_SEALING, 0) }
func unwritable(t *testing.T, r *raw) int {
	return memory(t, unix.MFD_ALLOW_SEALING, unix.F_SEAL_SHRINK|unix.F_SEAL_WRITE)
}

// memory is a memory file of a mebibyte with these seals.
func memory(t *testing.T, flags, seals int) int {
	t.Helper()
	fd, err := unix.MemfdCreate("memif test", unix.MFD_CLOEXEC|flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, 1<<20); err != nil {
		t.Fatal(err)
	}
	if seals != 0 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
			t.Fatal(err)
		}
	}
	return fd
}

func pipeEnd(t *testing.T, _ *raw) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return int(w.Fd())
}

func diskFile(t *testing.T, _ *raw) int {
	t.Helper()
	f, err := os.Open("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return int(f.Fd())
}

func ringAttacks() []controlAttack {
	// ring is the first ring of a right client, changed.
	ring := func(change func(*wire.AddRing), fd func(t *testing.T, r *raw) int) func(*testing.T, *raw) error {
		return func(t *testing.T, r *raw) error {
			m := r.ringMessage(shm.C2S, 0)
			change(&m)
			return after(r, r.sayInit, r.sayRegion, func() error { return r.ask(m, fd(t, r)) })
		}
	}
	bell := func(_ *testing.T, r *raw) int { return r.c2s[0].bell }
	nothing := func(*wire.AddRing) {}
	size := uint32(small().Size())
	return []controlAttack{
		{"a region after a ring", "and the first ring", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayRings, func() error {
				return r.ask(wire.AddRegion{Index: 1, Size: 64}, r.file)
			})
		}},
		{"a ring without a doorbell", "without its descriptor", ring(nothing, func(*testing.T, *raw) int { return -1 })},
		{"a pipe for a doorbell", "no eventfd", ring(nothing, pipeEnd)},
		{"a memory file for a doorbell", "no eventfd", ring(nothing, unsealed)},
		{"a file for a doorbell", "no eventfd", ring(nothing, diskFile)},
		{"ring 1 first", "ring 0 was next", ring(func(m *wire.AddRing) { m.Index = 1 }, bell)},
		{"ring 65535", "ring 0 was next", ring(func(m *wire.AddRing) { m.Index = 65535 }, bell)},
		{"a ring in no region", "in region 1, of 1", ring(func(m *wire.AddRing) { m.Region = 1 }, bell)},
		{"a ring in region 65535", "in region 65535", ring(func(m *wire.AddRing) { m.Region = 65535 }, bell)},
		{"a ring that is not aligned", "no multiple of 16", ring(func(m *wire.AddRing) { m.Offset = 8 }, bell)},
		{"a ring at the end of its region", "its region has", ring(func(m *wire.AddRing) { m.Offset = size &^ 15 }, bell)},
		{"a ring that ends behind its region", "its region has", ring(func(m *wire.AddRing) { m.Offset = (size - 128) &^ 15 }, bell)},
		{"a ring at the end of all addresses", "its region has", ring(func(m *wire.AddRing) { m.Offset = 0xfffffff0 }, bell)},
		{"a ring of one slot", "2^0 slots", ring(func(m *wire.AddRing) { m.Log2 = 0 }, bell)},
		{"a ring of more slots than offered", "2^11 slots", ring(func(m *wire.AddRing) { m.Log2 = 11 }, bell)},
		{"a ring of 2^255 slots", "2^255 slots", ring(func(m *wire.AddRing) { m.Log2 = 255 }, bell)},
		{"a private header", "private headers", ring(func(m *wire.AddRing) { m.PrivateHeader = 8 }, bell)},
		{"one ring more", "exactly 1 each way", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayRings, func() error {
				return r.ask(wire.AddRing{C2S: true, Index: 1, Log2: 4}, r.c2s[0].bell)
			})
		}},
		{"no rings", "0 rings to the server, 0 from it", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayConnect)
		}},
		{"rings in one direction", "1 rings to the server, 0 from it", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, func() error {
				return r.ask(r.ringMessage(shm.C2S, 0), r.c2s[0].bell)
			}, r.sayConnect)
		}},
		{"a wrong cookie", "wrong cookie", func(t *testing.T, r *raw) error {
			r.region.Data()[r.layout.Ring(shm.S2C, 0)] ^= 1
			return after(r, r.sayInit, r.sayRegion, r.sayRings, r.sayConnect)
		}},
		{"a region when connected", "is connected", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayRings, r.sayConnect, func() error {
				return r.ask(wire.AddRegion{Index: 1, Size: 64}, r.file)
			})
		}},
		{"INIT when connected", "is connected", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayRings, r.sayConnect, r.sayInit)
		}},
		{"CONNECT when connected", "is connected", func(t *testing.T, r *raw) error {
			return after(r, r.sayInit, r.sayRegion, r.sayRings, r.sayConnect, r.sayConnect)
		}},
	}
}

// TestHostileControl: whatever a client says, it is told what was wrong, the
// next one is served, and the neighbour loses nothing.
func TestHostileControl(t *testing.T) {
	before := countAll(t)
	t.Run("attacks", func(t *testing.T) {
		s := newTestServer(t)
		v := newVictim(t, s)
		q := openQueue(t, s, Config{Secret: "s3cret"})
		for _, c := range controlAttacks() {
			t.Run(c.name, func(t *testing.T) {
				r := newClient(t, small())
				r.secret = "s3cret"
				if _, err := r.dial(q.SocketPath()); err != nil {
					t.Fatal(err)
				}
				err := c.attack(t, r)
				if why := (refused)(""); !errors.As(err, &why) || !strings.Contains(string(why), c.says) {
					t.Errorf("the client is told %v, want %q", err, c.says)
				}
				if m, err := r.hear(); !errors.Is(err, io.EOF) {
					t.Errorf("after the reason: %v, %v, want the end", m, err)
				}
				if last := q.LastDisconnect(); !strings.Contains(last, c.says) {
					t.Errorf("the queue says %q, want %q", last, c.says)
				}
			})
			serves(t, q)
		}
		v.passes(t, 100)
		v.end(t)
	})
	before.settle(t)
}

// serves: a right client is let in, and goes again.
func serves(t *testing.T, q *Queue) {
	t.Helper()
	r := newClient(t, small())
	r.secret = q.cfg.Secret
	if err := r.connect(q.SocketPath()); err != nil {
		t.Fatalf("a right client: %v", err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the right client is gone", func() bool { return !isConnected(q) })
}
