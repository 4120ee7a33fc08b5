package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
)

// leftover is what a process holds.
type leftover struct {
	// held are descriptors by what they are, and entries of BPF maps by the
	// map's name.
	held counts
	// threads, and resident memory in KiB.
	threads, rss int
}

// residue is what the daemon holds now.
func residue(t testing.TB, m *machine) leftover {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d", m.daemon.Cmd.Process.Pid)
	l := leftover{held: counts{}}
	l.threads, l.rss = statusOf(t, dir)
	seen := map[ebpf.MapID]bool{}
	fds, err := filepath.Glob(dir + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if kind := kindOf(fd); kind != "" {
			l.held.add(kind, 1)
		}
		if id, ok := mapOf(t, fd); ok && !seen[id] {
			seen[id] = true
			l.countEntries(t, id)
		}
	}
	return l
}

var inode = regexp.MustCompile(`\[\d+\]`)

// kindOf is what a descriptor is of, whichever it is of its kind; empty if it
// was closed meanwhile.
func kindOf(fd string) string {
	target, err := os.Readlink(fd)
	switch {
	case err != nil:
		return ""
	case strings.HasPrefix(target, "/run/netns/"), strings.HasPrefix(target, "net:"):
		return "netns"
	}
	return inode.ReplaceAllString(target, "")
}

var mapID = regexp.MustCompile(`(?m)^map_id:\s*(\d+)$`)

// mapOf is the BPF map that a descriptor is of.
func mapOf(t testing.TB, fd string) (ebpf.MapID, bool) {
	info, err := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
	if err != nil {
		return 0, false
	}
	found := mapID.FindSubmatch(info)
	if found == nil {
		return 0, false
	}
	id, err := strconv.ParseUint(string(found[1]), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return ebpf.MapID(id), true
}

// countEntries counts those of a map whose entries come and go.
func (l leftover) countEntries(t testing.TB, id ebpf.MapID) {
	t.Helper()
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	if info.Name == "lines" {
		l.countWords(t, m)
	}
	if info.Type != ebpf.Hash && info.Type != ebpf.LPMTrie {
		return
	}
	key, err := m.NextKeyBytes(nil)
	for ; err == nil && key != nil; key, err = m.NextKeyBytes(key) {
		l.held.add("entries of "+info.Name, 1)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// countWords counts the addresses that stand in cache lines with those that stand
// in the hash maps because their line is full.
func (l leftover) countWords(t testing.TB, m *ebpf.Map) {
	t.Helper()
	const ip4 = 1 << 60 // see steer.bpf.c
	for i := range m.MaxEntries() {
		var line [8]uint64
		if err := m.Lookup(i, &line); err != nil {
			t.Fatal(err)
		}
		for _, word := range line {
			switch {
			case word&ip4 != 0:
				l.held.add("entries of exact4", 1)
			case word != 0:
				l.held.add("entries of macs", 1)
			}
		}
	}
}

func statusOf(t testing.TB, dir string) (threads, rss int) {
	t.Helper()
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "Threads: %d", &threads)
		_, _ = fmt.Sscanf(line, "VmRSS: %d kB", &rss)
	}
	return threads, rss
}

var createdBy = regexp.MustCompile(`(?m)^created by (\S+)`)

// quit ends the daemon as SIGQUIT does, on which the runtime prints every
// goroutine's stack, and returns how many there were by who started them: without
// the runtime's own, of which there are more or less as it likes, and without
// those that serve a request, whose connections are among the descriptors.
func (m *machine) quit(t testing.TB) counts {
	t.Helper()
	already := len(m.daemon.Output())
	if err := m.daemon.Stop(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	all := counts{}
	for _, found := range createdBy.FindAllStringSubmatch(m.daemon.Output()[already:], -1) {
		if by := found[1]; !strings.HasPrefix(by, "runtime.") && !strings.HasPrefix(by, "net/http.") {
			all.add(by, 1)
		}
	}
	return all
}
