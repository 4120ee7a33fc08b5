package cli

import (
	"context"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Wrong usage is found before any daemon is asked: none runs here.
func TestWrongUsage(t *testing.T) {
	s := newShell(t)
	s.files["/bad.toml"] = "qeues = 1\n"
	s.files["ports.toml"] = "[[port]]\nname = \"a\"\nip = \"10.0.0.300/24\"\nnetns = \"a\"\n"
	for want, args := range map[string][]string{
		"command: it is missing; see xdpdemux --help":               {},
		`command "frobnicate": there is no such command`:            {"frobnicate"},
		"did you mean stats?":                                       {"stat"},
		"unknown flag: --frob":                                      {"ls", "--frob"},
		"unknown shorthand flag":                                    {"ls", "-x"},
		`output "yaml": there is no such form; give table or json`:  {"ls", "-o", "yaml"},
		"attach: it takes the name of a NIC, not 0 operands":        {"attach"},
		"attach: it takes the name of a NIC, not 2 operands":        {"attach", "a", "b"},
		"interface name":                                            {"attach", "a/b"},
		"16 bytes are too long":                                     {"attach", "abcdefghijklmnop"},
		"ring-size 1000: it is no power of two":                     {"attach", "eth0", "--ring-size", "1000"},
		"frame-size 3000: it is no power of two":                    {"attach", "eth0", "--frame-size", "3000"},
		`flag --queues "x": "x" is no whole number`:                 {"attach", "eth0", "--queues", "x"},
		`flag --count "x": it is no whole number; see`:              {"top", "--count", "x"},
		`flag --interval "5": it is no time; give a number with a`:  {"top", "--interval", "5"},
		`flag --rows "99999999999999999999": value out of range`:    {"top", "--rows", "99999999999999999999"},
		"completion: the shell is missing; give one of bash, fish,": {"completion"},
		`completion: the shell "csh" is unknown; give one of bash`:  {"completion", "csh"},
		`unknown command "x" for "xdpdemux completion bash"`:        {"completion", "bash", "x"},
		`command "frob": there is no such command`:                  {"help", "frob"},
		"help add frob: there is no such command; see xdpdemux add": {"help", "add", "frob"},
		"help completion csh: there is no such command":             {"help", "completion", "csh"},
		`port name "a/b": it may not hold "/"`:                      {"set", "a/b", "--mtu", "1400"},
		`port name "c/d": it may not hold "/"`:                      {"del", "a", "c/d"},
		`port name "e/f": it may not hold "/"`:                      {"stats", "e/f"},
		"port: the name is missing":                                 {"del", ""},
		`mode "fast": there is no such mode`:                        {"attach", "eth0", "--mode", "fast"},
		`zero-copy "maybe"`:                                         {"attach", "eth0", "--zero-copy", "maybe"},
		"max-ports 70000: it is out of range":                       {"attach", "eth0", "--max-ports", "70000"},
		"/bad.toml line 1: there is no setting \"qeues\"":           {"attach", "eth0", "--config", "/bad.toml"},
		"/none.toml":                                                  {"ls", "--config", "/none.toml"},
		"detach: it takes the name of a NIC":                          {"detach"},
		"add: it takes the name of the port":                          {"add", "--ip", "10.0.0.5/24"},
		"port a: identity: it owns no address":                        {"add", "a", "--netns", "a"},
		`address "10.0.0.5": this is no CIDR`:                         {"add", "a", "--netns", "a", "--ip", "10.0.0.5"},
		"address 10.0.0.0/24: it names the network, not a host in it": {"add", "a", "--netns", "a", "--ip", "10.0.0.0/24"},
		"it is a multicast address; give a unicast address with":      {"add", "a", "--netns", "a", "--ip", "224.0.0.1/24"},
		"it is the unspecified address":                               {"add", "a", "--netns", "a", "--ip", "0.0.0.0/24"},
		"VLAN 4095: it is out of range":                               {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--vlan", "4095"},
		"VLAN 0: it is out of range":                                  {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--vlan", "0"},
		"VLAN -1: it is out of range":                                 {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--vlan", "-1"},
		`kind "veth": there is no such kind`:                          {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--kind", "veth"},
		`MAC address "02:00"`:                                         {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--mac", "02:00"},
		"MAC address 00:00:00:00:00:00: it is all zero":               {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--mac", "00:00:00:00:00:00"},
		`interface name "abcdefghijklmnop"`:                           {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--ifname", "abcdefghijklmnop"},
		`gateway "x": this is no address`:                             {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--gateway", "x"},
		"prefix 10.1.0.1/24: it has host bits set":                    {"add", "a", "--netns", "a", "--prefix", "10.1.0.1/24"},
		"MTU 10: it is out of range":                                  {"add", "a", "--netns", "a", "--ip", "10.0.0.5/24", "--mtu", "10"},
		"neither netns nor ifname is given":                           {"add", "a", "--ip", "10.0.0.5/24"},
		`port name "a/b"`:                                             {"add", "a/b", "--netns", "a", "--ip", "10.0.0.5/24"},
		"set: nothing to change was named":                            {"set", "a"},
		"set: it takes the name of the port":                          {"set", "--mtu", "1400"},
		`address "x": this is no CIDR`:                                {"set", "a", "--ip", "x"},
		`prefix 10.1.0.1/24`:                                          {"set", "a", "--prefix", "10.1.0.1/24"},
		`gateway "y"`:                                                 {"set", "a", "--gateway", "y"},
		"unknown flag: --mac":                                         {"set", "a", "--mac", "02:00:00:00:00:01"},
		"del: it takes names of ports, not 0 operands":                {"del"},
		"ls: it takes none, not 1 operands":                           {"ls", "a"},
		"apply: the file is missing; say -f FILE":                     {"apply"},
		"apply: it takes none but -f, not 1 operands":                 {"apply", "ports.toml"},
		"open none.toml: file does not exist":                         {"apply", "-f", "none.toml"},
		`ports.toml line 1: port a: address "10.0.0.300/24"`:          {"apply", "-f", "ports.toml"},
		"standard input: it lists no ports":                           {"apply", "-f", "-"},
		"top: a number is out of range":                               {"top", "--interval", "1ms"},
		"top: a number is out of range; give":                         {"top", "--rows", "0"},
		"version: it takes none":                                      {"version", "a"},
		"demo: it takes none":                                         {"demo", "a"},
	} {
		s.fails(t, ExitUsage, want, args...)
	}
	s.fails(t, ExitUsage, `interface name "a/b"`, "ls", "--nic", "a/b")
}

func TestExitCodes(t *testing.T) {
	for code, want := range map[api.Code]int{
		api.CodeUsage: ExitUsage, api.CodeNoDaemon: ExitNoDaemon, api.CodePermission: ExitPermission, api.CodeNotFound: ExitFailed,
		api.CodeConflict: ExitFailed, api.CodeLimit: ExitFailed, api.CodeBusy: ExitFailed, api.CodeGone: ExitFailed,
		api.CodeUnsupported: ExitFailed, api.CodeFailed: ExitFailed,
	} {
		t.Run(string(code), func(t *testing.T) {
			s := newShell(t)
			s.daemon(t, "eth0").Before = func(context.Context, string) error {
				return api.Errorf(code, "it: because\nof that").WithHint("do this")
			}
			r := s.run(t, "ls")
			if r.code != want || r.err != "xdpdemux: it: because; of that; do this\n" || r.out != "" {
				t.Errorf("%+v, want %d", r, want)
			}
		})
	}
	err := &fs.PathError{Op: "open", Path: "/dev/net/tun", Err: fs.ErrPermission}
	if exitCode(err) != ExitPermission {
		t.Error("a missing privilege is not exit code 4")
	}
}

func TestHelp(t *testing.T) {
	s := newShell(t)
	out := s.ok(t, "--help")
	for _, command := range []string{"attach", "detach", "add", "set", "del", "apply", "ls", "stats", "top", "demo", "version", "completion"} {
		if !strings.Contains(out, "\n  "+command+" ") {
			t.Errorf("--help does not name %s", command)
		}
		if help := s.ok(t, command, "--help"); !strings.Contains(help, "Usage:\n  xdpdemux "+command) {
			t.Errorf("%s --help: %s", command, help)
		}
	}
	for _, topic := range []string{"add", "completion", "completion bash"} {
		words := strings.Fields(topic)
		if s.ok(t, append([]string{"help"}, words...)...) != s.ok(t, append(words, "--help")...) {
			t.Errorf("help %s is not %s --help", topic, topic)
		}
	}
	if s.ok(t, "help") != out {
		t.Error("help is not --help")
	}
}

func TestNoDaemon(t *testing.T) {
	s := newShell(t)
	for _, args := range [][]string{{"ls"}, {"stats"}, {"del", "a"}, {"top"}, {"set", "a", "--mtu", "1400"}, {"detach", "eth0"},
		{"add", "a", "--ip", "10.0.0.5/24", "--netns", "a"}, {"ls", "--nic", "eth7"}, {"ls", "--run-dir", "/nonexistent"}} {
		s.fails(t, ExitNoDaemon, "no daemon", args...)
	}
}

func TestWhichDaemon(t *testing.T) {
	s := newShell(t)
	s.daemon(t, "eth0")
	s.ok(t, "add", "a", "--ip", "10.0.0.5/24", "--netns", "a")
	s.daemon(t, "eth1")
	s.fails(t, ExitUsage, "several daemons run: eth0, eth1; say which with --nic", "ls")
	for nic, has := range map[string]bool{"eth0": true, "eth1": false} {
		if out := s.ok(t, "ls", "--nic", nic); strings.Contains(out, "10.0.0.5") != has {
			t.Errorf("--nic %s: %s", nic, out)
		}
		s.env["XDPDEMUX_NIC"] = nic
		if out := s.ok(t, "ls"); strings.Contains(out, "10.0.0.5") != has {
			t.Errorf("XDPDEMUX_NIC=%s: %s", nic, out)
		}
		delete(s.env, "XDPDEMUX_NIC")
	}
	other := newShell(t)
	if out := other.ok(t, "ls", "--run-dir", s.dir, "--nic", "eth0"); !strings.Contains(out, "10.0.0.5") {
		t.Errorf("--run-dir: %s", out)
	}
}

func TestVersion(t *testing.T) {
	s := newShell(t)
	var v api.Version
	for _, word := range []string{"version", "--version"} {
		strict(t, s.ok(t, word, "-o", "json"), &v)
		if v != Build() || v.API != "v1" || v.Version == "" || v.Go == "" {
			t.Errorf("%s: %+v", word, v)
		}
		if out := s.ok(t, word); !strings.HasPrefix(out, "xdpdemux "+v.Version) || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %s", word, out)
		}
	}
}

func TestCompletion(t *testing.T) {
	s := newShell(t)
	for _, sh := range []string{"bash", "zsh", "fish", "powershell"} {
		if out := s.ok(t, "completion", sh); !strings.Contains(out, "xdpdemux") {
			t.Errorf("%s: %.100s", sh, out)
		}
	}
	s.daemon(t, "eth0")
	s.ok(t, "add", "web1", "--ip", "10.0.0.5/24", "--netns", "a")
	for want, args := range map[string][]string{
		"web1":    {"del", ""},
		"eth0":    {"ls", "--nic", ""},
		"generic": {"attach", "eth0", "--mode", ""},
		"auto":    {"attach", "eth0", "--zero-copy", ""},
		"tap":     {"add", "a", "--kind", ""},
		"detach":  {"det"},
	} {
		out := completed(t, s, args)
		if !slices.Contains(out, want) {
			t.Errorf("%q completes to %q", args, out)
		}
	}
	if out := completed(t, newShell(t), []string{"del", ""}); slices.Contains(out, "web1") {
		t.Errorf("without a daemon: %q", out)
	}
}

// completed are the words that the shell is offered, without descriptions.
func completed(t *testing.T, s *shell, args []string) []string {
	t.Helper()
	var words []string
	for line := range strings.Lines(s.anyStderr(t, append([]string{"__completeNoDesc"}, args...)...)) {
		words = append(words, strings.TrimSpace(line))
	}
	return words
}
