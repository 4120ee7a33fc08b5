package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
	"github.com/xdpdemux/xdpdemux/xdp"
)

// The ways to have the kernel's receive work done on the worker's processor.
const (
	oneCoreThreaded = "threaded" // a kernel thread, bound to it
	oneCoreBusyPoll = "busypoll" // the worker's own system calls
)

// gather moves the NIC's receive work to where the worker is, if the case says so.
func (s *stage) gather(b *bed, c *testCase) {
	switch c.OneCore {
	case oneCoreThreaded:
		threadedNAPI(b, s.rig.Host, s.rig.NIC, workerCPU)
	case oneCoreBusyPoll:
		setDevice(b, s.rig.Host, s.rig.NIC, "napi_defer_hard_irqs", "2")
		setDevice(b, s.rig.Host, s.rig.NIC, "gro_flush_timeout", "200000") // in ns: when the kernel takes over from a worker that does not poll
		s.busyPoll = xdp.BusyPoll{Micros: 20}
	}
}

// setDevice writes what of a device only /sys offers; that of a namespace has to be
// mounted.
func setDevice(b *bed, ns *nictest.NS, device, key, value string) {
	line := fmt.Sprintf("mount -t sysfs none /sys && echo %s >/sys/class/net/%s/%s", value, device, key)
	ns.Run(b, "unshare", "--mount", "sh", "-c", line)
}

// threadedNAPI has a kernel thread do a device's receive work, on one processor: that
// thread is the newest of its name.
func threadedNAPI(b *bed, ns *nictest.NS, device string, cpu int) {
	setDevice(b, ns, device, "threaded", "1")
	newest := 0
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if strings.HasPrefix(string(text), "napi/"+device+"-") {
			newest = max(newest, pid)
		}
	}
	if newest == 0 {
		b.Skipf("the kernel made no thread for the receive work of %s", device)
	}
	var one unix.CPUSet
	one.Set(cpu)
	if err := unix.SchedSetaffinity(newest, &one); err != nil {
		b.Fatalf("binding the thread of the receive work of %s: %v", device, err)
	}
}
