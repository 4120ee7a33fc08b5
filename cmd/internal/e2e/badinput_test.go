package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// The exit codes.
const (
	failed     = 1
	usage      = 2
	noDaemon   = 3
	permission = 4
)

// refusal is a command that must be refused.
type refusal struct {
	name string
	code int
	args []string
	say  []string // words of its one line
}

// refused runs a command and requires its exit code, that it prints one line on
// standard error, with these words, and nothing on standard output.
func (m *machine) refused(r refusal) {
	m.t.Helper()
	m.refusedAs(m.Host.Command("env", m.program(r.args...)...), r)
}

func (m *machine) refusedAs(cmd *exec.Cmd, r refusal) {
	m.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		m.t.Fatal(err)
	}
	line := stderr.String()
	if code := cmd.ProcessState.ExitCode(); code != r.code {
		m.t.Errorf("exit %d, want %d", code, r.code)
	}
	if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "xdpdemux: ") || !strings.HasSuffix(line, "\n") || stdout.Len() > 0 {
		m.t.Errorf("it printed %q and %q, want one line", stdout.String(), line)
	}
	if !advises(line) {
		m.t.Errorf("it does not say what to do: %q", line)
	}
	for _, word := range r.say {
		if !strings.Contains(line, word) {
			m.t.Errorf("no %q in %q", word, line)
		}
	}
	m.t.Logf("%s", strings.TrimSpace(line))
}

// advises says that a line ends with what to do: behind a semicolon, or as an
// imperative behind the colon.
func advises(line string) bool {
	if strings.Contains(line, "; ") {
		return true
	}
	return regexp.MustCompile(`: (choose|detach|take|attach|raise|delete|run) `).MatchString(line)
}

// TestAttachIsRefused: each reason for which there is no attach is said in one
// line, and nothing is touched.
func TestAttachIsRefused(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	attach := func(args ...string) []string { return append([]string{"attach"}, args...) }
	before := m.snapshot()
	for _, r := range []refusal{
		{"unknown NIC", failed, attach("nope0"), []string{`no interface "nope0"`, "ip link"}},
		{"unknown NIC, dry", failed, attach("nope0", "--dry-run"), []string{`no interface "nope0"`}},
		{"loopback", failed, attach("lo"), []string{"lo is the loopback interface", "choose"}},
		{"no NIC", usage, attach(), []string{"the name of a NIC", "--help"}},
		{"long name", usage, attach("a-very-long-interface"), []string{"interface name", "too long"}},
		{"ring no power of two", usage, attach(m.NIC, "--ring-size", "1000"), []string{"ring-size 1000", "power of two", "64"}},
		{"ring too large", usage, attach(m.NIC, "--ring-size", "65536"), []string{"ring-size 65536", "out of range"}},
		{"frame no power of two", usage, attach(m.NIC, "--frame-size", "3000"), []string{"frame-size 3000", "power of two", "2048 or 4096"}},
		{"frame too large", usage, attach(m.NIC, "--frame-size", "8192"), []string{"frame-size 8192"}},
		{"no number", usage, attach(m.NIC, "--ring-size", "many"), []string{"ring-size", `"many"`, "--help"}},
		{"unknown mode", usage, attach(m.NIC, "--mode", "fast"), []string{`mode "fast"`, "native"}},
		{"no ports", usage, attach(m.NIC, "--max-ports", "0"), []string{"max-ports 0", "65534"}},
		{"too many workers", usage, attach(m.NIC, "--workers", "65"), []string{"workers 65"}},
		{"unknown flag", usage, attach(m.NIC, "--fast"), []string{"--fast", "--help"}},
		{"zero-copy on veth", failed, attach(m.NIC, "--zero-copy", "on"), []string{"zero-copy", "auto or off"}},
		{"unknown checksum", usage, attach(m.NIC, "--wire-checksum", "on"), []string{`wire-checksum "on"`, "complete"}},
		{"run directory too long", usage, attach(m.NIC, "--run-dir", "/tmp/"+strings.Repeat("x", 120)), []string{"longer than", "--run-dir"}},
		{"run directory is a file", failed, attach(m.NIC, "--run-dir", "/etc/hostname"), []string{"run directory", "/etc/hostname"}},
		{"state directory is a file", failed, attach(m.NIC, "--state-dir", "/etc/hostname"), []string{"state directory", "/etc/hostname"}},
		{"nothing to detach", noDaemon, []string{"detach", m.NIC}, []string{"no daemon runs", "--run-dir"}},
		{"nothing to detach of an unknown NIC", noDaemon, []string{"detach", "nope0"}, []string{"no daemon runs"}},
		{"unknown command", usage, []string{"atach", m.NIC}, []string{`"atach"`, "attach"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			m := m.in(t)
			m.refused(r)
			m.requireNoRemains()
			m.requireNoDirectories(m.runDir, m.stateDir, "/tmp/"+strings.Repeat("x", 120))
		})
	}
	m.requireAsBefore(before)
}

// requireNoDirectories: none of these is there, since none was before.
func (m *machine) requireNoDirectories(dirs ...string) {
	m.t.Helper()
	for _, dir := range dirs {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			m.t.Errorf("%s is there (%v)", dir, err)
		}
	}
}

// TestDryRun: what attach would choose and change is printed, and nothing is
// touched: neither NIC nor host, nor is anything written; and attach then chooses
// that.
func TestDryRun(t *testing.T) {
	m := newMachine(t, nictest.Config{Queues: 2, NICGRO: true})
	m.Host.Run(t, "ethtool", "-K", m.NIC, "rxvlan", "on")
	before := m.snapshot()
	dry := m.run("attach", m.NIC, "--dry-run", "--mode", "native", "--zero-copy", "off")
	m.requireAsBefore(before)
	for _, dir := range []string{m.runDir, m.stateDir} {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("%s was made: %v", dir, err)
		}
	}
	m.attach("--mode", "native", "--zero-copy", "off")
	for _, want := range []string{"driver veth", "XDP native", "zero-copy off", "2 queues", "host port xdmx0", "descriptors", "rx-vlan-hw-parse is switched off until detach", "nftables", "tcpdump -i " + m.NIC} {
		for what, out := range map[string]string{"--dry-run": dry, "attach": m.daemon.Output()} {
			if !strings.Contains(out, want) {
				t.Errorf("%s says nothing of %q:\n%s", what, want, out)
			}
		}
	}
	if strings.Contains(dry, "ready") {
		t.Errorf("--dry-run says that it is ready:\n%s", dry)
	}
	m.detach()
	m.requireAsBefore(before)
}

// TestBridgeMemberIsRefused, by the name of its bridge.
func TestBridgeMemberIsRefused(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	if out, err := m.Host.Try("ip", "link", "add", "br0", "type", "bridge"); err != nil {
		nictest.Missing(t, "a kernel with bridges (CONFIG_BRIDGE): "+out)
	}
	m.Host.Run(t, "ip", "link", "set", m.NIC, "master", "br0")
	before := m.snapshot()
	m.refused(refusal{code: failed, args: []string{"attach", m.NIC}, say: []string{m.NIC + " is a member of the bridge br0", "ip link set " + m.NIC + " nomaster"}})
	m.refused(refusal{code: failed, args: []string{"attach", "br0", "--mode", "native"}, say: []string{"br0", "native"}})
	m.requireAsBefore(before)
	m.requireNoRemains()
}

// TestForeignProgramIsNamed: an XDP program of somebody else's is named by id,
// name and tag, and stays.
func TestForeignProgramIsNamed(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "stranger", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}}) // XDP_PASS
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	info, err := prog.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	for _, mode := range []link.XDPAttachFlags{link.XDPDriverMode, link.XDPGenericMode} {
		var l link.Link
		index := m.Host.Index(t, m.NIC)
		err := m.Host.Do(func() (err error) {
			l, err = link.AttachXDP(link.XDPOptions{Program: prog, Interface: index, Flags: mode})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		before := m.snapshot()
		for _, mode := range []string{"auto", "native", "generic"} {
			m.refused(refusal{code: failed, args: []string{"attach", m.NIC, "--mode", mode},
				say: []string{m.NIC, "stranger", fmt.Sprintf("id %d", id), "tag " + info.Tag, "detach"}})
			m.requireNoDirectories(m.runDir, m.stateDir)
		}
		m.requireAsBefore(before)
		if !strings.Contains(m.Host.Run(t, "ip", "-d", "link", "show", m.NIC), fmt.Sprintf("id %d ", id)) {
			t.Error("the stranger's program is gone")
		}
		l.Close()
	}
	m.requireNoRemains()
	m.attach()
	m.detach()
}

// TestWithoutPrivilege: who is nobody is told so, with exit code 4, whatever
// stands in the way first.
func TestWithoutPrivilege(t *testing.T) {
	nictest.Require(t, "setpriv")
	m := newMachine(t, nictest.Config{Containers: 1})
	public, err := os.MkdirTemp("", "xdpdemux-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(public)
	program := filepath.Join(public, "xdpdemux")
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{os.WriteFile(program, data, 0o755), os.Chmod(public, 0o755), os.Mkdir(public+"/own", 0o755), os.Chown(public+"/own", 65534, 65534),
		os.Mkdir(public+"/run", 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m.runDir = public + "/run"
	nobody := func(runDir, stateDir string, args ...string) *exec.Cmd {
		return m.Host.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "env",
			"XDPDEMUX_RUN_DIR=" + runDir, "XDPDEMUX_STATE_DIR=" + stateDir, program}, args...)...)
	}
	before := m.snapshot()
	m.refusedAs(nobody(public+"/own", public+"/own", "attach", m.NIC), refusal{code: permission, say: []string{m.NIC}})
	m.refusedAs(nobody(m.runDir, public+"/own", "attach", m.NIC), refusal{code: permission, say: []string{"permission denied"}})
	m.refusedAs(nobody(public+"/own", m.runDir, "attach", m.NIC), refusal{code: permission, say: []string{"permission denied"}})
	m.requireAsBefore(before)
	m.attach()
	add := []string{"add", "a", "--ip", a4 + "/16", "--netns", m.Containers[0].Path}
	m.refusedAs(nobody(m.runDir, m.stateDir, add...), refusal{code: permission, say: []string{"permission denied", "sudo"}})
	m.refusedAs(nobody(m.runDir, m.stateDir, "detach", m.NIC), refusal{code: permission, say: []string{"permission denied", "sudo"}})
	// Whoever may open the socket may look, and no more.
	if err := os.Chmod(filepath.Join(m.runDir, m.NIC+".sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := nobody(m.runDir, m.stateDir, "ls").CombinedOutput(); err != nil {
		t.Errorf("ls: %v: %s", err, out)
	}
	for _, args := range [][]string{add, {"del", "a"}, {"set", "a", "--mtu", "1400"}, {"detach", m.NIC}} {
		m.refusedAs(nobody(m.runDir, m.stateDir, args...), refusal{code: permission, say: []string{"only the superuser", "sudo"}})
	}
	m.requirePorts()
	m.detach()
	m.requireAsBefore(before)
}

// TestTwoDaemons: the second one for a NIC is refused, wherever it keeps its
// things, and the first one notices nothing.
func TestTwoDaemons(t *testing.T) {
	m := usual(t, nictest.Config{})
	before := m.snapshot()
	elsewhere := t.TempDir()
	m.refused(refusal{code: failed, args: []string{"attach", m.NIC}, say: []string{"already attached", fmt.Sprint("PID ", m.daemon.Cmd.Process.Pid), "detach " + m.NIC}})
	m.refused(refusal{code: failed, args: []string{"attach", m.NIC, "--run-dir", elsewhere + "/run"}, say: []string{fmt.Sprint(m.daemon.Cmd.Process.Pid)}})
	m.refused(refusal{code: failed, args: []string{"attach", m.NIC, "--run-dir", elsewhere + "/run", "--state-dir", elsewhere + "/state"},
		say: []string{"already has the XDP program", "steer", "tag"}})
	m.refused(refusal{code: failed, args: []string{"detach", m.NIC, "--run-dir", elsewhere + "/run"}, say: []string{fmt.Sprint(m.daemon.Cmd.Process.Pid)}})
	m.requireAsBefore(before)
	m.requirePorts("a", "b", "m")
	reachAll(t, m.nodes())
	m.detach()
}

// TestStaleSocket: what a daemon that died left at the place of its socket is
// no hindrance; what is no socket is not touched.
func TestStaleSocket(t *testing.T) {
	m := newMachine(t, nictest.Config{})
	socket := filepath.Join(m.runDir, m.NIC+".sock")
	m.attach()
	m.kill()
	if _, err := os.Lstat(socket); err != nil {
		t.Fatal("no stale socket to test with:", err)
	}
	m.refused(refusal{code: noDaemon, args: []string{"ls"}, say: []string{"no daemon", "xdpdemux attach"}})
	m.refused(refusal{code: noDaemon, args: []string{"ls", "--nic", m.NIC}, say: []string{"no daemon", "xdpdemux attach " + m.NIC}})
	m.attach()
	m.detach()
	m.requireNoRemains()
	// A daemon that died before it had changed anything left the socket alone.
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	m.run("detach", m.NIC)
	m.requireNoRemains()
	m.refused(refusal{code: noDaemon, args: []string{"detach", m.NIC}, say: []string{"none left anything behind"}})
	if err := os.WriteFile(socket, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.refused(refusal{code: failed, args: []string{"attach", m.NIC}, say: []string{socket, "no socket", "move it away"}})
	if data, err := os.ReadFile(socket); err != nil || string(data) != "mine" {
		t.Errorf("the file was touched: %q %v", data, err)
	}
}

// TestWithoutDaemon: every command that needs one says so, with exit code 3.
func TestWithoutDaemon(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	file := filepath.Join(t.TempDir(), "ports.toml")
	if err := os.WriteFile(file, []byte("[[port]]\nname = \"a\"\nip = \"10.9.1.1/16\"\nifname = \"x0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"ls"}, {"stats"}, {"top"}, {"del", "a"}, {"set", "a", "--mtu", "1400"}, {"apply", "-f", file},
		{"add", "a", "--ip", a4 + "/16", "--netns", m.Containers[0].Path}, {"detach", m.NIC}} {
		m.refused(refusal{code: noDaemon, args: args, say: []string{"daemon"}})
		m.refused(refusal{code: noDaemon, args: append(slices.Clone(args), "-o", "json"), say: []string{"daemon"}})
	}
}

// bad is the list of what add, set, del and apply refuse on a machine with the
// ports a, b and m and one container more.
func bad(m *machine, dir string) []refusal {
	free := m.Containers[3].Path
	add := func(args ...string) []string { return append([]string{"add", "x", "--netns", free}, args...) }
	files := 0
	file := func(text string) []string {
		files++
		path := filepath.Join(dir, fmt.Sprintf("%d.toml", files))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			m.t.Fatal(err)
		}
		return []string{"apply", "-f", path}
	}
	const port = "[[port]]\nname = %q\nip = %q\nnetns = %q\n"
	return []refusal{
		{"no CIDR", usage, add("--ip", "10.9.1.9"), []string{`"10.9.1.9"`, "no CIDR", "10.0.0.5/24"}},
		{"bits out of range", usage, add("--ip", "10.9.1.9/33"), []string{"no CIDR"}},
		{"no address at all", usage, add("--ip", "ten"), []string{`"ten"`, "no CIDR"}},
		{"no --ip", usage, add(), []string{"owns no address", "--ip"}},
		{"multicast", usage, add("--ip", "224.0.0.5/24"), []string{"224.0.0.5", "multicast"}},
		{"multicast v6", usage, add("--ip", "ff02::5/64"), []string{"multicast"}},
		{"unspecified", usage, add("--ip", "0.0.0.0/0"), []string{"unspecified"}},
		{"unspecified v6", usage, add("--ip", "::/0"), []string{"unspecified"}},
		{"loopback address", usage, add("--ip", "127.0.0.1/8"), []string{"loopback"}},
		{"network", usage, add("--ip", "10.9.0.0/16"), []string{"names the network"}},
		{"broadcast", usage, add("--ip", "10.9.255.255/16"), []string{"broadcast"}},
		{"address twice", usage, add("--ip", "10.9.1.9/16,10.9.1.9/24"), []string{"twice"}},
		{"host bits in a prefix", usage, add("--prefix", "10.50.0.1/24"), []string{"host bits"}},
		{"prefix of everything", usage, add("--prefix", "0.0.0.0/0"), []string{"prefix 0.0.0.0/0"}},
		{"duplicate name", failed, []string{"add", "a", "--ip", "10.9.1.9/16", "--netns", free}, []string{"port a", "of that name", "set"}},
		{"duplicate IP", failed, add("--ip", a4+"/16"), []string{a4, "port a"}},
		{"duplicate IP of a MAC identity", failed, add("--ip", m6+"/64"), []string{m6, "port m"}},
		{"duplicate MAC", failed, add("--ip", "10.9.1.9/16", "--mac", mMAC), []string{mMAC, "port m"}},
		{"MAC of the NIC", failed, add("--ip", "10.9.1.9/16", "--mac", fmtMAC(m.Host.MAC(m.t, m.NIC))), []string{m.NIC, "--mac"}},
		{"MAC of the host port", failed, add("--ip", "10.9.1.9/16", "--mac", fmtMAC(m.Host.MAC(m.t, "xdmx0"))), []string{"xdmx0"}},
		{"multicast MAC", usage, add("--ip", "10.9.1.9/16", "--mac", "01:00:5e:00:00:01"), []string{"multicast"}},
		{"no MAC", usage, add("--ip", "10.9.1.9/16", "--mac", "02:00"), []string{"02:00"}},
		{"overlapping prefix", failed, add("--prefix", "10.9.1.0/24"), []string{"10.9.1.0/24", "belongs to port"}},
		{"host's address", failed, add("--ip", host4+"/16"), []string{host4, "the host"}},
		{"host's address v6", failed, add("--ip", host6+"/64"), []string{host6, "the host"}},
		{"prefix with the host's address", failed, add("--prefix", "10.9.0.0/24"), []string{"10.9.0.0/24", "the host"}},
		{"netns name", failed, []string{"add", "x", "--ip", "10.9.1.9/16", "--netns", "xdt-no-such"}, []string{"xdt-no-such", "no such network namespace"}},
		{"netns path", failed, []string{"add", "x", "--ip", "10.9.1.9/16", "--netns", "/run/netns/xdt-no-such"}, []string{"no such network namespace"}},
		{"netns PID", failed, []string{"add", "x", "--ip", "10.9.1.9/16", "--netns", "4194303"}, []string{"4194303", "no such network namespace"}},
		{"netns is a file", failed, []string{"add", "x", "--ip", "10.9.1.9/16", "--netns", "/etc/hostname"}, []string{"/etc/hostname", "not a network namespace"}},
		{"neither netns nor ifname", usage, []string{"add", "x", "--ip", "10.9.1.9/16"}, []string{"netns", "ifname"}},
		{"ifname taken by a port", failed, []string{"add", "x", "--ip", "10.9.1.9/16", "--netns", m.Containers[0].Path}, []string{"eth0", "exists already", "choose another name"}},
		{"ifname taken by a stranger", failed, add("--ip", "10.9.1.9/16", "--ifname", "lo"), []string{"lo"}},
		{"ifname too long", usage, add("--ip", "10.9.1.9/16", "--ifname", "sixteen-letters-"), []string{"sixteen-letters-", "too long", "15"}},
		{"ifname with a slash", usage, add("--ip", "10.9.1.9/16", "--ifname", "a/b"), []string{`"a/b"`}},
		{"VLAN 0", usage, add("--ip", "10.9.1.9/16", "--vlan", "0"), []string{"VLAN 0", "1 to 4094"}},
		{"VLAN 4095", usage, add("--ip", "10.9.1.9/16", "--vlan", "4095"), []string{"VLAN 4095", "1 to 4094"}},
		{"VLAN -1", usage, add("--ip", "10.9.1.9/16", "--vlan", "-1"), []string{"1 to 4094"}},
		{"VLAN 70000", usage, add("--ip", "10.9.1.9/16", "--vlan", "70000"), []string{"1 to 4094"}},
		{"unknown kind", usage, add("--ip", "10.9.1.9/16", "--kind", "veth"), []string{`kind "veth"`, "tap"}},
		{"MTU", usage, add("--ip", "10.9.1.9/16", "--mtu", "67"), []string{"MTU 67"}},
		{"MTU too small for v6", usage, add("--ip", "fd09::9/64", "--mtu", "1000"), []string{"1280"}},
		{"depth", usage, add("--ip", "10.9.1.9/16", "--depth", "-1"), []string{"depth -1"}},
		{"name", usage, []string{"add", "-x/y", "--ip", "10.9.1.9/16", "--netns", free}, nil},
		{"name with a slash", usage, []string{"add", "x/y", "--ip", "10.9.1.9/16", "--netns", free}, []string{`"x/y"`}},
		{"gateway of another family", usage, add("--ip", "10.9.1.9/16", "--gateway", "fd09::1"), []string{"fd09::1", "family"}},
		{"gateway is the port", usage, add("--ip", "10.9.1.9/16", "--gateway", "10.9.1.9"), []string{"own address"}},
		{"set to another's address", failed, []string{"set", "a", "--ip", b4 + "/16"}, []string{b4, "port b"}},
		{"set to nothing", usage, []string{"set", "a"}, []string{"nothing to change", "--help"}},
		{"set of no port", failed, []string{"set", "nobody", "--mtu", "1400"}, []string{"no port nobody", "ls"}},
		{"set without addresses", usage, []string{"set", "a", "--ip", ""}, nil},
		{"del of no port", failed, []string{"del", "a", "nobody"}, []string{"no port nobody", "ls"}},
		{"stats of no port", failed, []string{"stats", "nobody"}, []string{"no port nobody"}},
		{"another NIC", noDaemon, []string{"ls", "--nic", "nic9"}, []string{"nic9", "no daemon"}},
		{"apply without a file", usage, []string{"apply", "-f", dir + "/nothing"}, []string{"no such file"}},
		{"apply of nonsense", usage, file("[[port]]\nname = 7\n"), nil},
		{"apply with an unknown key", usage, file("[[port]]\nname = \"x\"\nipp = \"10.9.1.9/16\"\n"), []string{"ipp"}},
		{"apply with one name twice", failed, file(fmt.Sprintf(port+port, "x", "10.9.1.9/16", free, "x", "10.9.1.10/16", free)), []string{"line 5", "port x", "twice"}},
		{"apply with one address twice", failed, file(fmt.Sprintf(port+port, "x", "10.9.1.9/16", free, "y", "10.9.1.9/16", free) + "ifname = \"eth7\"\n"), []string{"10.9.1.9", "port x"}},
		{"output", usage, []string{"ls", "-o", "xml"}, []string{`"xml"`, "json"}},
	}
}

// TestPortIsRefused: each mistake in add, set, del and apply gets one line, and
// leaves neither port nor interface, route, rule or neighbour.
func TestPortIsRefused(t *testing.T) {
	m := usual(t, nictest.Config{Containers: 4})
	before, list := m.snapshot(), m.run("ls", "-o", "json")
	trace := func() (all string) {
		for _, ns := range append(slices.Clone(m.Containers), m.Host) {
			err := ns.Do(func() error {
				text, err := traceHere()
				all += text
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	was := trace()
	for _, r := range bad(m, t.TempDir()) {
		t.Run(r.name, func(t *testing.T) {
			m := m.in(t)
			m.refused(r)
			if now := m.run("ls", "-o", "json"); now != list {
				t.Errorf("the ports are now\n%s", now)
			}
			if now := trace(); now != was {
				t.Errorf("it left a trace:\n%s", now)
			}
		})
	}
	m.requireAsBefore(before)
	reachAll(t, m.nodes())
	m.detach()
}

// traceHere is what a port would leave in the thread's namespace: interfaces,
// addresses, routes and rules, permanent neighbours. Snapshot knows more, and
// takes its time.
func traceHere() (string, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", err
	}
	defer handle.Close()
	links, err := handle.LinkList()
	if err != nil {
		return "", err
	}
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, l := range links {
		a := l.Attrs()
		add("link %d %s %v mtu %d %v %q %d", a.Index, a.Name, a.HardwareAddr, a.MTU, a.Flags, a.Alias, a.TxQLen)
	}
	addrs, err1 := handle.AddrList(nil, netlink.FAMILY_ALL)
	for _, a := range addrs {
		add("addr %d %v", a.LinkIndex, a.IPNet)
	}
	routes, err2 := handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	for _, r := range routes {
		add("route %v", r)
	}
	rules, err3 := handle.RuleList(netlink.FAMILY_ALL)
	for _, r := range rules {
		add("rule %v", r)
	}
	neighs, err4 := handle.NeighList(0, netlink.FAMILY_ALL)
	for _, n := range neighs {
		if n.State&netlink.NUD_PERMANENT != 0 {
			add("neighbour %d %v %v", n.LinkIndex, n.IP, n.HardwareAddr)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), errors.Join(err1, err2, err3, err4)
}

// TestPortLimit: no more ports than --max-ports, and a place that is given up
// is free again.
func TestPortLimit(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 3})
	m.attach("--max-ports", "2")
	m.add(0, "a", a4+"/16")
	m.add(1, "b", b4+"/16")
	before := m.snapshot()
	m.refused(refusal{code: failed, args: []string{"add", "c", "--ip", m4 + "/16", "--netns", m.Containers[2].Path}, say: []string{"2 is the most", "--max-ports"}})
	m.requireAsBefore(before)
	m.requirePorts("a", "b")
	m.run("del", "a")
	m.add(2, "c", m4+"/16")
	ping(t, m.Wire, m4, "-c", "1")
	m.detach()
}

// TestDescriptorLimit: a daemon that may open few descriptors says before it
// begins that it cannot make so many ports, and makes those that it can. The
// soft limit does not matter.
func TestDescriptorLimit(t *testing.T) {
	nictest.Require(t, "prlimit")
	m := newMachine(t, nictest.Config{Containers: 1})
	dry := m.Host.Command("prlimit", append([]string{"--nofile=50:330", "env"}, m.program("attach", m.NIC, "--dry-run", "--max-ports", "1000")...)...)
	if out, err := dry.CombinedOutput(); err != nil || !strings.Contains(string(out), "at most 1000 ports, which need 2256 of 330 descriptors") {
		t.Errorf("--dry-run does not compute the need: %v:\n%s", err, out)
	}
	m.daemon = m.Host.Start(t, "prlimit", append([]string{"--nofile=50:330", "env"}, m.program("attach", m.NIC)...)...)
	nictest.Eventually(t, "the daemon's ready line", func() bool { return strings.Contains(m.daemon.Output(), ": ready: ") })
	if out := m.daemon.Output(); !strings.Contains(out, "of 330 descriptors") || !strings.Contains(out, "warning: the descriptor limit allows about") {
		t.Errorf("nothing was said of the limit:\n%s", out)
	}
	before := m.snapshot()
	file := func(ports int) string {
		var text strings.Builder
		for i := range ports {
			fmt.Fprintf(&text, "[[port]]\nname = \"p%d\"\nip = \"10.9.2.%d/16\"\nnetns = %q\nifname = \"eth%d\"\n", i, i+1, m.Containers[0].Path, i)
		}
		path := filepath.Join(t.TempDir(), "ports.toml")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	m.refused(refusal{code: failed, args: []string{"apply", "-f", file(100)}, say: []string{"100 more ports need 200 descriptors", "of 330 are free", "raise the limit"}})
	m.requirePorts()
	m.requireAsBefore(before)
	m.run("apply", "-f", file(8))
	ping(t, m.Wire, "10.9.2.1", "-c", "1")
	m.detach()
}

// TestVanishedNetNS: the namespace of a port loses its name and its last
// process while the daemon lives, and is gone when the next one comes. The port
// says so, the others work, and it can be deleted.
func TestVanishedNetNS(t *testing.T) {
	m := newMachine(t, nictest.Config{Containers: 1})
	name := m.Containers[0].Name + "-gone"
	m.Host.Run(t, "ip", "netns", "add", name)
	defer func() { _, _ = m.Host.Try("ip", "netns", "del", name) }()
	m.attach()
	m.add(0, "a", a4+"/16")
	m.run("add", "lost", "--ip", b4+"/16", "--netns", name)
	m.Host.Run(t, "ip", "netns", "del", name)
	ping(t, m.Wire, a4, "-c", "1")
	m.run("stats", "lost")
	m.run("set", "lost", "--mtu", "1400") // the daemon still holds it
	m.kill()
	m.attach()
	if out := m.daemon.Output(); !strings.Contains(out, "port lost does not work: ") || !strings.Contains(out, name) {
		t.Errorf("the daemon says nothing of it:\n%s", out)
	}
	out := m.run("ls")
	if !strings.Contains(out, "no_netns") {
		t.Errorf("ls says nothing of it:\n%s", out)
	}
	ping(t, m.Wire, a4, "-c", "1")
	if strings.Contains(m.Host.Run(t, "ip", "route"), b4) {
		t.Error("the host has a route to a port that is not there")
	}
	m.run("del", "lost")
	m.requirePorts("a")
	// A namespace of the same name is another one.
	m.Host.Run(t, "ip", "netns", "add", name)
	m.run("add", "lost", "--ip", b4+"/16", "--netns", name)
	ping(t, m.Wire, b4, "-c", "1")
	m.run("del", "lost")
	m.detach()
}

// TestBadRequests: whoever may open the control socket can send anything, send
// it slowly or never. Each is told in JSON what is wrong, or is hung up on, and
// the daemon answers others meanwhile.
func TestBadRequests(t *testing.T) {
	m := usual(t, nictest.Config{})
	socket, list := filepath.Join(m.runDir, m.NIC+".sock"), m.run("ls", "-o", "json")
	dial := func() net.Conn {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for _, c := range []struct{ name, request, status, code string }{
		{"no JSON", post("/v1/ports", "{"), "400", `"usage"`},
		{"another JSON", post("/v1/ports", `{"ports":[{"name":7}]}`), "400", `"usage"`},
		{"unknown field", post("/v1/ports", `{"ports":[{"name":"x","ipp":[]}]}`), "400", `"usage"`},
		{"no port", post("/v1/ports", `{"ports":[]}`), "400", `"usage"`},
		{"deep", post("/v1/ports", strings.Repeat("[", 100000)), "400", `"usage"`},
		{"empty", post("/v1/ports", ""), "400", `"usage"`},
		{"path", post("/v1/nothing", "{}"), "404", `"not_found"`},
		{"method", "PATCH /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "400", `"usage"`},
		{"no HTTP", "hello\r\n\r\n", "400", ""},
		{"header too long", "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", "431", ""},
		{"oversize", "POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n" + strings.Repeat(" ", 33<<20), "507", `"limit"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := dial()
			go func() { _, _ = conn.Write([]byte(c.request)) }()
			answer := make([]byte, 4096)
			n, err := conn.Read(answer)
			if text := string(answer[:n]); err != nil || !strings.HasPrefix(text, "HTTP/1.1 "+c.status) || !strings.Contains(text, c.code) {
				t.Errorf("%v, %q, want status %s and %s", err, text, c.status, c.code)
			}
		})
	}
	// The slow ones: a request that never ends, and connections that say nothing.
	for i := range 60 {
		conn := dial()
		if i%2 == 0 {
			_, _ = conn.Write([]byte("POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"))
		}
	}
	if now := m.run("ls", "-o", "json"); now != list {
		t.Errorf("the ports are now\n%s", now)
	}
	// More than it takes: refused at once, and well again when they leave.
	var many []net.Conn
	for range 100 {
		many = append(many, dial())
	}
	m.refused(refusal{code: failed, args: []string{"ls"}, say: []string{"too many connections", "try again"}})
	for _, c := range many {
		c.Close()
	}
	nictest.Eventually(t, "the daemon to answer again", func() bool { _, code := m.try("ls"); return code == 0 })
	reachAll(t, m.nodes())
	m.detach()
}

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
}
