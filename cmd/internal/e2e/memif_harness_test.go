package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// nobody is the user and the group that memif clients run as: it has nothing.
const nobody = 65534

// openRunDir lets nobody reach the sockets below the test's directory, in which
// each has a directory that is his own.
func (m *machine) openRunDir() {
	m.t.Helper()
	for dir := filepath.Dir(m.runDir); strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			m.t.Fatal(err)
		}
	}
}

// addMemif adds a port of kind memif that nobody may use, and returns what add
// says a program needs.
func (m *machine) addMemif(name, ips string, args ...string) api.Endpoint {
	m.t.Helper()
	args = append([]string{"add", name, "--kind", "memif", "--ip", ips, "--uid", fmt.Sprint(nobody), "--gid", fmt.Sprint(nobody), "-o", "json"}, args...)
	var list api.PortList
	if err := json.Unmarshal([]byte(m.run(args...)), &list); err != nil {
		m.t.Fatal(err)
	}
	return *list.Ports[0].Endpoint
}

// port is one port as ls has it.
func (m *machine) port(name string) api.Port {
	m.t.Helper()
	for _, p := range m.ports() {
		if p.Name == name {
			return p
		}
	}
	m.t.Fatalf("there is no port %s", name)
	return api.Port{}
}

// awaitClient waits until somebody is connected to the port.
func (m *machine) awaitClient(name string) (c *api.MemifClient) {
	m.t.Helper()
	nictest.Eventually(m.t, "a client of port "+name, func() bool {
		c = m.port(name).Client
		return c != nil
	})
	return c
}

// awaitNoClient waits until nobody is, and returns why.
func (m *machine) awaitNoClient(name string) (why string) {
	m.t.Helper()
	nictest.Eventually(m.t, "the end of the client of port "+name, func() bool {
		p := m.port(name)
		why = p.LastDisconnect
		return p.Client == nil && why != ""
	})
	return why
}

// pmd is a dpdk-testpmd that is a memif client.
type pmd struct {
	*nictest.Process
	t     *testing.T
	input *os.File // of an interactive one
}

// pmdConfig says what it is like; the zero value of a field leaves testpmd's own.
type pmdConfig struct {
	mode                   string // of forwarding; icmpecho if empty
	rings, log2, size, mtu int
	secret                 string
	interactive            bool // takes commands
	extra                  []string
}

// startPMD starts testpmd as nobody, without a capability, in a namespace that
// need not have anything but lo. It ends before the daemon does, for it may
// crash by a mistake of its own when its server leaves first.
func startPMD(t *testing.T, in *nictest.NS, e api.Endpoint, cfg pmdConfig) *pmd {
	t.Helper()
	nictest.Require(t, "dpdk-testpmd", "setpriv", "stdbuf")
	name, args := pmdCommand(t, e, cfg)
	p := &pmd{t: t}
	if !cfg.interactive {
		p.Process = in.Start(t, name, args...)
	} else {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p.input = w
		t.Cleanup(func() { _ = w.Close() })
		p.Process = in.StartWith(t, r, name, args...)
		_ = r.Close()
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			out := p.Output()
			t.Logf("testpmd said:\n%s", out[max(0, len(out)-4000):])
		}
	})
	return p
}

func pmdCommand(t *testing.T, e api.Endpoint, cfg pmdConfig) (string, []string) {
	id := fmt.Sprint(nobody)
	vdev := "net_memif0,role=client,id=0,socket=" + e.SocketPath + ",socket-abstract=" + map[bool]string{true: "yes", false: "no"}[e.Abstract]
	for key, v := range map[string]int{"rsize": cfg.log2, "bsize": cfg.size} {
		if v != 0 {
			vdev += fmt.Sprintf(",%s=%d", key, v)
		}
	}
	if cfg.secret != "" {
		vdev += ",secret=" + cfg.secret
	}
	mode, rings := cfg.mode, max(cfg.rings, 1)
	if mode == "" {
		mode = "icmpecho"
	}
	args := []string{"--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
		"stdbuf", "-oL", // or what it says would come when it ends
		"dpdk-testpmd", "--lcores", "0@(0-1),1@(0-1)", "--no-pci", "--no-huge", "-m", "128", "--no-telemetry", "--no-shconf",
		"--file-prefix", fmt.Sprintf("xdpdemux-%d-%s", os.Getpid(), filepath.Base(filepath.Dir(e.SocketPath))), "--vdev", vdev, "--",
		"--total-num-mbufs=16384", "--forward-mode=" + mode, "--no-mlockall",
		fmt.Sprintf("--rxq=%d", rings), fmt.Sprintf("--txq=%d", rings)}
	if cfg.interactive {
		args = append(args, "-i")
	} else {
		args = append(args, "--stats-period=1")
	}
	return "setpriv", append(args, cfg.extra...)
}

// stop ends testpmd, as it wants to be ended. One that has ended is no error.
func (p *pmd) stop() {
	p.t.Helper()
	if err := p.Stop(syscall.SIGINT); err != nil {
		p.t.Error(err)
	}
}

// say types a command.
func (p *pmd) say(command string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.input, command); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits until testpmd has printed a text behind the first from bytes, and
// returns where that ends.
func (p *pmd) wait(text string, from int) (end int) {
	p.t.Helper()
	nictest.Eventually(p.t, "testpmd to say "+text, func() bool {
		out := p.Output()
		i := strings.Index(out[min(from, len(out)):], text)
		end = from + i + len(text)
		return i >= 0
	})
	return end
}

// capabilities are those of a process, from its status.
func capabilities(t *testing.T, pid int) (sum uint64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^Cap(?:Inh|Prm|Eff|Bnd|Amb):\s*([0-9a-f]+)$`).FindAllStringSubmatch(string(status), -1) {
		v, err := strconv.ParseUint(m[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum |= v
	}
	return sum
}
