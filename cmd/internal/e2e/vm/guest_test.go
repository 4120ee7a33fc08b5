//go:build vm

package vm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// modules are those that the tests need, in the order to load them: each behind
// what it depends on.
var modules = []string{"failover", "net_failover", "virtio_net", "veth", "tun"}

// programs are those of the machine that the tests in the guest call.
var programs = []string{"ip", "bridge", "tc", "ethtool", "nsenter", "env", "ping", "setpriv"}

// guest is the root of a virtual machine's file system.
type guest struct {
	dir string
}

// newGuest puts everything into it but the job.
func newGuest(t *testing.T, kernel string) guest {
	t.Helper()
	g := guest{t.TempDir()}
	for i, name := range modules {
		g.put(t, find(t, kernel, `/kernel/.*/`+name+`\.ko\.xz$`), fmt.Sprintf("/modules/%d-%s.ko.xz", i, name))
	}
	for _, name := range programs {
		g.putProgram(t, name)
	}
	g.build(t, "init", "build", "./init")
	g.build(t, "e2e.test", "test", "-c", "-tags", "vm", "github.com/xdpdemux/xdpdemux/cmd/internal/e2e")
	for _, name := range []string{"xdpdemux", "echo"} {
		built := os.Getenv("XDPDEMUX_TEST_" + map[string]string{"xdpdemux": "BINARY", "echo": "ECHO"}[name])
		if built == "" {
			t.Fatalf("%s is not built: run make test-vm", name)
		}
		g.put(t, built, "/bin/"+name)
	}
	return g
}

// build makes a static program.
func (g guest) build(t *testing.T, name string, args ...string) {
	t.Helper()
	args = append(args[:len(args)-1:len(args)-1], "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(g.dir, name), args[len(args)-1])
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if _, err := output(cmd); err != nil {
		t.Fatal(err)
	}
}

// put copies a file.
func (g guest) put(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	to = filepath.Join(g.dir, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

var library = regexp.MustCompile(`(/\S+) \(0x`)

// putProgram copies a program of the machine with its libraries.
func (g guest) putProgram(t *testing.T, name string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	g.put(t, path, "/bin/"+name)
	out, err := output(exec.Command("ldd", path))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range library.FindAllStringSubmatch(out, -1) {
		g.put(t, m[1], m[1])
	}
}

// pack makes the image that the kernel unpacks into memory.
func (g guest) pack(t *testing.T, to string) {
	t.Helper()
	cmd := exec.Command("cpio", "--create", "--format=newc", "--owner=0:0", "--quiet", "--file="+to)
	cmd.Dir = g.dir
	var list bytes.Buffer
	err := filepath.WalkDir(g.dir, func(path string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(g.dir, path); rel != "." {
			fmt.Fprintln(&list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = &list
	if _, err := output(cmd); err != nil {
		t.Fatal(err)
	}
}

// bootLimit is how long a machine may run, for one that does not even boot: in
// the guest the tests have a limit of their own.
const bootLimit = 20 * time.Minute

// run boots the machine and has it run those of the tests of package e2e whose
// names match, with these variables in their environment. All must pass, none may
// be skipped.
func (g guest) run(t *testing.T, vmlinuz, tests string, env ...string) {
	t.Helper()
	j, err := json.Marshal(map[string][]string{
		"Command": {"/e2e.test", "-test.v", "-test.failfast", "-test.timeout", "5m", "-test.run", tests},
		"Env": append([]string{"PATH=/bin", "HOME=/", "CI=true", "XDPDEMUX_TEST_BINARY=/bin/xdpdemux", "XDPDEMUX_TEST_ECHO=/bin/echo",
			"XDPDEMUX_TEST_NIC=eth0", "XDPDEMUX_TEST_WIRE=eth1"}, env...),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "job.json"), j, 0o644); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "initramfs")
	g.pack(t, image)
	log := boot(t, vmlinuz, image)
	passed := strings.Count(log, "\n--- PASS: ")
	if passed == 0 || !strings.Contains(log, "the tests ended: <nil>") || strings.Contains(log, "--- FAIL: ") || strings.Contains(log, "--- SKIP: ") {
		t.Fatalf("%d tests passed in the guest, and not all:\n%s", passed, log)
	}
	for line := range strings.Lines(log) {
		if strings.Contains(line, "--- PASS: ") || strings.Contains(line, "_test.go:") {
			t.Log("guest: ", strings.TrimRight(line, "\r\n"))
		}
	}
}

// boot runs a virtual machine to its end and returns what came over its serial
// line.
func boot(t *testing.T, vmlinuz, image string) (log string) {
	t.Helper()
	// QEMU 7.2 emulates cmpxchg16b wrongly, which breaks the kernel's allocator.
	const cpu = "max,cx16=off"
	// With any of these on the driver refuses XDP.
	const offloads = "guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_csum=off"
	cmd := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-cpu", cpu, "-smp", "1", "-m", "1024",
		// Time is what was executed: no load of the machine makes anything late.
		"-icount", "shift=1,sleep=off",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot", "-nodefaults",
		"-kernel", vmlinuz, "-initrd", image, "-append", "console=ttyS0 quiet panic=-1",
		"-netdev", "hubport,id=n0,hubid=0", "-device", "virtio-net-pci,netdev=n0,disable-legacy=on,iommu_platform=on,"+offloads,
		"-netdev", "hubport,id=n1,hubid=0", "-device", "virtio-net-pci,netdev=n1,disable-legacy=on,iommu_platform=on,"+offloads)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said serial
	cmd.Stdout, cmd.Stderr = &said, &said
	runtime.LockOSThread() // for the parent whose death is signalled is a thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(bootLimit, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	late.Stop()
	log = strings.ReplaceAll(said.text.String(), "\r\n", "\n")
	if err != nil {
		t.Fatalf("the virtual machine ended with %v, or ran for %v:\n%s", err, bootLimit, log)
	}
	return log
}

// serial keeps what the guest says, and shows it at once where that is asked for.
type serial struct{ text bytes.Buffer }

func (s *serial) Write(p []byte) (int, error) {
	if os.Getenv("XDPDEMUX_TEST_VM_LOG") != "" {
		fmt.Fprintf(os.Stderr, "%s", p)
	}
	return s.text.Write(p)
}
