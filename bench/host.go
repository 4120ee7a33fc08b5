package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// host is where the figures were made.
type host struct {
	CPU        string   `json:"cpu"`
	CPUs       int      `json:"cpus"`
	L3         string   `json:"l3"`
	Hypervisor bool     `json:"hypervisor"`
	Kernel     string   `json:"kernel"`
	MemoryMiB  uint64   `json:"memory_mib"`
	Go         string   `json:"go"`
	GOAMD64    string   `json:"goamd64,omitempty"`
	Commit     string   `json:"commit,omitempty"`
	Load       string   `json:"load_at_start"`
	Rig        []string `json:"rig"` // what is the same for all contenders
}

// readHost asks the machine about itself.
func readHost() host {
	h := host{CPUs: runtime.NumCPU(), Go: runtime.Version(), Rig: rigFacts()}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		h.MemoryMiB = uint64(info.Totalram) * uint64(info.Unit) >> 20
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		h.CPU, h.Hypervisor = parseCPUInfo(text)
	}
	h.L3 = lastCache("/sys/devices/system/cpu/cpu0/cache")
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		h.Load = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		h.Commit, h.GOAMD64 = setting(build, "vcs.revision"), setting(build, "GOAMD64")
	}
	return h
}

// rigFacts are what every case has in common.
func rigFacts() []string {
	return []string{
		"the NIC is one end of a veth pair, one queue, MTU 1,500, native XDP, copy mode",
		"the wire's end: tx checksum, segmentation and VLAN offloads off; the NIC's end: GRO on, which on veth means NAPI",
		"IPv6 off in all namespaces, so that no frame but the benchmark's own is on the wire",
		"processor 0: the generator, and the kernel's receive work; processor 1: the worker, and the one consumer process",
		"a fixed load is bursts of the clock, of 64 frames or at least every 128 µs; round trips under load are those of probes among it, stamped by the kernel",
		"TCP: iperf3, sender and receiver on different processors; checksum and segmentation offloads off at both ends of the wire, GRO on, but for the host's own TCP, whose veth has the kernel's defaults; IP and TCP of the wire's far end run on processor 0 (RPS), and all of it does, in a kernel thread, in the cases named far-thread",
		"to the wire and between containers, where no generator runs: the containers' process on processor 0, the worker with the kernel's transmit work on 1; ring to ring: the sender on 0, the receiver on 1",
	}
}

func setting(build *debug.BuildInfo, key string) string {
	i := slices.IndexFunc(build.Settings, func(s debug.BuildSetting) bool { return s.Key == key })
	if i < 0 {
		return ""
	}
	return build.Settings[i].Value
}

// parseCPUInfo reads the model and whether a hypervisor is below.
func parseCPUInfo(text []byte) (model string, hypervisor bool) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.TrimSpace(key) {
		case "model name":
			model = strings.TrimSpace(value)
		case "flags":
			return model, slices.Contains(strings.Fields(value), "hypervisor")
		}
	}
	return model, false
}

// lastCache is the size of the processor's last cache, as the kernel prints it.
func lastCache(dir string) (size string) {
	paths, _ := filepath.Glob(dir + "/index*/size")
	for _, p := range paths { // in the order of levels
		if text, err := os.ReadFile(p); err == nil {
			size = strings.TrimSpace(string(text))
		}
	}
	return size
}

// same tells whether figures of the two may stand beside each other.
func (h host) same(o host) bool {
	return h.CPU == o.CPU && h.CPUs == o.CPUs && h.Kernel == o.Kernel && h.Go == o.Go && slices.Equal(h.Rig, o.Rig)
}
