package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/queues/memif"
)

// memifKind is the kind of ports that a program reaches through a Unix socket
// and shared memory.
type memifKind struct{}

// memifPort is the queue of such a port. What of it can change in place, the
// switch alone needs to know: the MTU above all, to which it holds the port.
type memifPort struct {
	*memif.Queue
	d      *Daemon
	secret bool // the client must say one
}

// maxSocketPath is the longest path of a Unix socket: sun_path of sys/un.h, less
// the zero byte.
const maxSocketPath = 107

// socketsDir holds a directory for each memif port of the NIC. It is ours alone
// to write; those are their clients'.
func socketsDir(cfg config.Attach) string { return filepath.Join(cfg.RunDir, cfg.NIC) }

func socketDir(cfg config.Attach, port string) string { return filepath.Join(socketsDir(cfg), port) }

// startMemif makes what all memif ports share.
func (d *Daemon) startMemif() (err error) {
	if err := os.MkdirAll(socketsDir(d.cfg), 0o755); err != nil {
		return fmt.Errorf("making the directory of the memif sockets: %w", err)
	}
	d.undo.Push("the directory of the memif sockets", func() error { return removeSocketsDir(d.cfg) })
	if d.memif, err = memif.NewServer(); err != nil {
		return err
	}
	d.undo.Push("the memif server", d.memif.Close)
	if why := d.memif.WhyRingers(); why != nil {
		d.notice("memif clients that sleep are woken by a thread each, which takes longer: %v", why)
	}
	return nil
}

// removeSocketsDir leaves a directory in which a client has left something of
// its own.
func removeSocketsDir(cfg config.Attach) error {
	err := os.Remove(socketsDir(cfg))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// check refuses rings without a worker, which nobody would serve, and paths that
// no socket can have.
func (memifKind) check(d *Daemon, spec *api.PortSpec) error {
	if workers := d.crew.size(); spec.Rings > workers {
		return api.Errorf(api.CodeLimit, "port %s: it wants %d rings, and the daemon has %d of the workers that each serve one", spec.Name, spec.Rings, workers).
			WithHint(fmt.Sprintf("give at most --rings %d, or attach with more --workers", workers))
	}
	path := filepath.Join(socketDir(d.cfg, spec.Name), memif.SocketName)
	if spec.Abstract == "" && len(path) > maxSocketPath {
		return api.Errorf(api.CodeUsage, "port %s: the path of its socket, %s, is longer than the %d bytes of a Unix socket", spec.Name, path, maxSocketPath).
			WithHint("choose a shorter name or --run-dir, or an --abstract socket")
	}
	return nil
}

// descriptors of a port to which nobody is connected: its socket.
func (memifKind) descriptors(*api.PortSpec, int) int { return 1 }

// memifClientDescriptors is what a client with that many rings adds: its
// connection, and two doorbells a ring.
func memifClientDescriptors(rings int) int { return 1 + 2*rings }

// foreign: a delivery is a copy into memory.
func (memifKind) foreign() bool { return false }

func (k memifKind) open(d *Daemon, p *port) (_ queue, err error) {
	if err := k.check(d, &p.spec); err != nil {
		return nil, err
	}
	cfg := memifConfig(d.cfg, &p.spec)
	if p.spec.NetNS != "" {
		if cfg.NetNS, err = openNetNS(p.spec.NetNS, p.where); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, cfg.NetNS.Close()) }()
		inside, err := cfg.NetNS.Identity()
		if err != nil {
			return nil, err
		}
		p.where.NetNSInode, p.where.NetNSCookie = inside.Inode, inside.Cookie
	}
	q, err := d.memif.Open(cfg)
	if err != nil {
		return nil, err
	}
	return &memifPort{Queue: q, d: d, secret: p.spec.Secret != ""}, nil
}

func memifConfig(cfg config.Attach, spec *api.PortSpec) memif.Config {
	m := memif.Config{
		Abstract: spec.Abstract, UID: orNobody(spec.UID), GID: orNobody(spec.GID), Secret: spec.Secret,
		Rings: spec.Rings, RingSize: spec.RingSize, BufferSize: spec.BufferSize,
		MaxFrame: api.MaxMemifMTU + ethHeader, AllowUnsealed: spec.AllowUnsealed, Name: "xdpdemux",
	}
	if m.Abstract == "" {
		m.Directory = socketDir(cfg, spec.Name)
	}
	return m
}

// ethHeader is the length of an untagged Ethernet header in bytes.
const ethHeader = 14

// orNobody is a user or group as the memif server counts them, which has -1 for
// none.
func orNobody(id int) int {
	if id == 0 {
		return -1
	}
	return id
}

func (memifKind) code(err error) api.Code {
	if errors.Is(err, unix.EADDRINUSE) {
		return api.CodeConflict
	}
	return tapKind{}.code(err) // of a network namespace
}

// clear removes the directory and the socket in it. An abstract socket ends with
// its daemon.
func (memifKind) clear(cfg config.Attach, spec *api.PortSpec, _ state.Facts) error {
	if spec.Abstract != "" {
		return nil
	}
	return memif.RemoveDirectory(socketDir(cfg, spec.Name))
}

func (memifKind) leftover(*api.PortSpec) string { return "the socket" }

// doorbells puts those of the client that is connected before the workers.
type doorbells struct {
	crew  *crew
	token uint32
}

func (b doorbells) Add(lane, fd int) error    { return b.crew.waiter(lane).AddLane(fd, b.token) }
func (b doorbells) Remove(lane, fd int) error { return b.crew.waiter(lane).Remove(fd) }

func (m *memifPort) watch(p *port) error { return m.Watch(doorbells{m.d.crew, p.slot.Token()}) }
func (m *memifPort) unwatch() error      { return m.Watch(nil) }

func (*memifPort) reshape(shape) error                    { return nil }
func (*memifPort) SetMAC([6]byte) error                   { return nil }
func (*memifPort) SetMTU(int) error                       { return nil }
func (*memifPort) SetNeighbour(netip.Addr, [6]byte) error { return nil }
func (*memifPort) DelNeighbour(netip.Addr) error          { return nil }
func (*memifPort) tend() (string, error)                  { return "", nil }

// show tells what a program needs to connect, and who is connected.
func (m *memifPort) show(v *api.Port) {
	v.Endpoint = &api.Endpoint{
		SocketPath: strings.TrimPrefix(m.SocketPath(), "@"), Abstract: v.Abstract != "", SecretRequired: m.secret,
		MAC: v.EffectiveMAC, IPs: v.IPs, Prefixes: v.Prefixes, LinkLocal: v.LinkLocal,
		Gateway: firstGateway(v.Gateways), Gateways: v.Gateways,
		MTU: v.EffectiveMTU, Rings: v.Rings, RingSize: v.RingSize, BufferSize: v.BufferSize,
	}
	v.LastDisconnect = m.LastDisconnect()
	if c, ok := m.Client(); ok {
		v.Client = &api.MemifClient{
			Name: c.Name, Interface: c.Interface, PID: c.PID, UID: c.UID, GID: c.GID, Rings: c.Rings, RingSize: c.RingSize,
			Regions: c.Regions, MemoryBytes: c.Memory, ConnectedSince: c.Since,
		}
	}
}

// firstGateway is that of IPv4 if there is one.
func firstGateway(all []netip.Addr) (first netip.Addr) {
	for _, gw := range all {
		if gw.Is4() || !first.IsValid() {
			first = gw
		}
	}
	return first
}
