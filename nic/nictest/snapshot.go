package nictest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Snapshot is everything about a namespace that attaching to a NIC in it could
// change, as text: all fields of all links (flags, MTU and its bounds, MAC,
// promiscuity, allmulti, XDP program, master, queues), addresses, routes of all
// tables, rules, permanent and proxy neighbours, forwarding entries and unicast
// filters, multicast groups, queueing disciplines, every readable sysctl under
// net/ipv4 and net/ipv6, and of every Ethernet link the features, channels,
// rings, coalescing and pause parameters.
//
// What changes by itself is left out: counters, dynamic neighbours, the
// remaining lifetimes of addresses and routes, and what ip calls the namespace of
// a peer.
func Snapshot(t testing.TB, ns *NS) map[string]string {
	t.Helper()
	Require(t, "ip", "bridge", "tc", "ethtool")
	s := snapshot{values: map[string]string{}, ns: ns}
	err := errors.Join(s.links(), s.lists(), s.addresses(), ns.Do(s.sysctls))
	if err != nil {
		t.Fatalf("snapshot of %s: %v", ns.Name, err)
	}
	return s.values
}

// Diff says in sorted lines what differs between two snapshots: "- key: value"
// is gone, "+ key: value" is new, "~ key: old -> new" has changed. No line means
// that they are equal.
func Diff(before, after map[string]string) []string {
	var lines []string
	for key, old := range before {
		now, ok := after[key]
		switch {
		case !ok:
			lines = append(lines, "- "+key+": "+old)
		case now != old:
			lines = append(lines, "~ "+key+": "+old+" -> "+now)
		}
	}
	for key, now := range after {
		if _, ok := before[key]; !ok {
			lines = append(lines, "+ "+key+": "+now)
		}
	}
	slices.Sort(lines)
	return lines
}

type snapshot struct {
	ns     *NS
	values map[string]string
}

type object map[string]any

// ask runs a program that prints a JSON list of objects.
func (s *snapshot) ask(command ...string) ([]object, error) {
	out, err := s.ns.Command(command[0], command[1:]...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", strings.Join(command, " "), err, stderrOf(err))
	}
	return decodeObjects(out)
}

// decodeObjects also takes no output at all, which is how iproute2 prints some
// empty lists, and leaves out the empty objects that it prints for things that
// its filters hide.
func decodeObjects(text []byte) ([]object, error) {
	if len(strings.TrimSpace(string(text))) == 0 {
		return nil, nil
	}
	var list []object
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(o object) bool { return len(o) == 0 }), nil
}

func stderrOf(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}

// links records every field of every link under a key of its own, and what
// ethtool knows about it.
func (s *snapshot) links() error {
	list, err := s.ask("ip", "-d", "-j", "link")
	for _, link := range list {
		name := text(link["ifname"])
		// How ip calls the namespace of a peer depends on all the names that there
		// are on the machine in that moment.
		delete(link, "link_netns")
		delete(link, "link_netnsid")
		for field, v := range link {
			s.values["link "+name+" "+field] = text(v)
		}
		if link["link_type"] == "ether" {
			s.ethtool(name)
		}
	}
	return err
}

// ethtool records what a driver says; what it does not know is recorded as
// such, for an unsupported question must stay unsupported.
func (s *snapshot) ethtool(link string) {
	for _, option := range []string{"-k", "-l", "-g", "-c", "-a", "-P"} {
		prefix := "ethtool " + option + " " + link
		out, err := s.ns.Command("ethtool", option, link).Output()
		if err != nil {
			s.values[prefix] = "unavailable"
		}
		maps.Copy(s.values, parseEthtool(prefix, string(out)))
	}
}

// parseEthtool takes "name: value" lines apart. A line that ends in a colon
// begins a section, whose name becomes part of the keys below it.
func parseEthtool(prefix, out string) map[string]string {
	values := map[string]string{}
	section := ""
	for line := range strings.Lines(out) {
		name, value, found := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case !found:
		case value == "":
			section = name
		default:
			values[prefix+" ["+section+"] "+name] = value
		}
	}
	return values
}

// lists records lists whose entries have no name: each whole entry is a key.
func (s *snapshot) lists() error {
	var errs []error
	for what, command := range map[string]string{
		"route4":  "ip -4 -d -j route show table all",
		"route6":  "ip -6 -d -j route show table all",
		"rule4":   "ip -4 -d -j rule",
		"rule6":   "ip -6 -d -j rule",
		"neigh4":  "ip -4 -d -j neigh show nud permanent",
		"neigh6":  "ip -6 -d -j neigh show nud permanent",
		"proxy4":  "ip -4 -d -j neigh show proxy",
		"proxy6":  "ip -6 -d -j neigh show proxy",
		"fdb":     "bridge -d -j fdb",
		"qdisc":   "tc -d -j qdisc",
		"group":   "ip -j maddr",
		"netconf": "ip -d -j netconf",
	} {
		list, err := s.ask(strings.Fields(command)...)
		errs = append(errs, err)
		for _, entry := range list {
			for _, e := range spread(what, entry) {
				s.count(what + " " + text(e))
			}
		}
	}
	return errors.Join(errs...)
}

// spread makes one entry of each multicast group, which come in one object for
// each link; other entries are taken without what changes by itself.
func spread(what string, entry object) []object {
	groups, ok := entry["maddr"].([]any)
	if what != "group" || !ok {
		delete(entry, "expires")
		return []object{entry}
	}
	var out []object
	for _, g := range groups {
		out = append(out, object{"ifname": entry["ifname"], "group": g})
	}
	return out
}

// addresses records every address; only whether its lifetimes end, not when.
func (s *snapshot) addresses() error {
	list, err := s.ask("ip", "-d", "-j", "addr")
	for _, link := range list {
		infos, _ := link["addr_info"].([]any)
		for _, info := range infos {
			addr, ok := info.(map[string]any)
			if !ok {
				continue
			}
			for _, life := range []string{"valid_life_time", "preferred_life_time"} {
				if addr[life] != float64(forever) {
					addr[life] = "limited"
				}
			}
			s.count("addr " + text(link["ifname"]) + " " + text(addr))
		}
	}
	return err
}

// forever is the lifetime of an address that does not end (RFC 4861, section 4.6.2).
const forever = 1<<32 - 1

// count records an entry that may stand in its list more than once.
func (s *snapshot) count(key string) { s.values[key] += "*" }

// sysctls reads those of the thread's namespace. Some can only be written, or
// cannot be read before they are set; those are left out.
func (s *snapshot) sysctls() error {
	for _, root := range []string{"/proc/sys/net/ipv4", "/proc/sys/net/ipv6"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return ignoreMissing(err)
			}
			if value, err := os.ReadFile(path); err == nil {
				s.values["sysctl "+strings.TrimPrefix(path, "/proc/sys/")] = strings.TrimSpace(string(value))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ignoreMissing forgives what went away during the walk, and a kernel without
// IPv6.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// text is a value as compact JSON, with sorted keys, or as itself if it is a
// string.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
