package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// density is the direction of the cases that attach ports and send nothing.
const density = "density"

// The names of density's figures. The daemon's memory is what is resident of its
// process; the kernel's is what of the machine's memory is neither free nor page
// cache nor anonymous: tables, devices and stacks of everybody, of which the
// difference is ours.
const (
	figureAdd     = "add s"
	figureConnect = "connect s"
	figureFirst   = "one more to its first ping ms"
	figureDaemon  = "daemon KiB/port"
	figureKernel  = "kernel KiB/port"
	figureQuiet   = "announced s"
	figureIdle    = "idle % of a core"
	figureDelete  = "delete s"
)

func densityContenders() []contender {
	return []contender{
		{name: "tap-ports", about: "the daemon, TAP ports, whose interfaces are all in one namespace", refuses: tapsRefuse, perPort: 12 * time.Millisecond, open: openDensity(tapCrowd)},
		{name: "memif-ports", about: "the daemon, memif ports to which nobody is connected", perPort: time.Millisecond, open: openDensity(memifCrowd)},
		{name: "memif-clients", about: "the daemon, memif ports with a client each, in one process", refuses: memifRefuses, perPort: 2 * time.Millisecond, open: openDensity(clientCrowd)},
		{name: "bridge-ports", about: "a bridge and veth pairs, whose inner ends are all in one namespace", refuses: portsRefuse, perPort: 12 * time.Millisecond, open: openDensityPeer(bridgeCrowd)},
		{name: "macvlan-ports", about: "macvlan interfaces, all in one namespace", refuses: macvlansRefuse, perPort: 12 * time.Millisecond, open: openDensityPeer(macvlanCrowd)},
	}
}

// tapsRefuse: a TAP costs the daemon a descriptor, and its namespace another.
func tapsRefuse(c *testCase) string { return descriptorsRefuse("TAPs", c.Containers, 2) }

func portsRefuse(c *testCase) string {
	if c.Containers >= bridgePorts-2 { // the NIC and one more are ports too
		return "a bridge has at most 1,024 ports (BR_MAX_PORTS)"
	}
	return ""
}

func macvlansRefuse(c *testCase) string {
	if c.Containers > mostNamespace {
		return "not built: each macvlan takes the lock over all interfaces for longer than the one before"
	}
	return ""
}

// crowd is a way to attach many ports and one more.
type crowd struct {
	add   func() error // all of them
	more  func() error // the one
	clear func() error // removes all
	pid   int          // of the daemon; 0: there is none
	// connect, if set, gives each port a client; disconnect takes them away.
	connect    func() error
	disconnect func()
}

// crowdStage has namespaces for the one more and for all others' interfaces.
func crowdStage(b *bed, c *testCase) *stage {
	s := newStage(b, c, false)
	s.rig.AddContainers(b, 2)
	for _, ns := range s.rig.Containers {
		quiet(b, ns)
	}
	batch(b, s.rig.Wire, "ip", []string{fmt.Sprintf("addr add %s/8 dev %s", sourceAddr(), s.rig.WireNIC)})
	return s
}

// oneMore is the address of the port that is added beside the others.
func oneMore() netip.Addr { return netip.AddrFrom4([4]byte{10, 201, 0, 1}) }

// openDensity has the daemon attach what kind makes.
func openDensity(kind func(s *stage, d *daemon, n int) crowd) func(b *bed, c *testCase) *stage {
	return func(b *bed, c *testCase) *stage {
		s := crowdStage(b, c)
		d := startDaemon(b, s.rig, strconv.Itoa(workerCPU))
		w := kind(s, d, c.Containers)
		w.pid = d.pid()
		w.more = func() error {
			return d.add("more", "--ip", oneMore().String()+"/8", "--netns", s.rig.Containers[0].Path)
		}
		w.clear = func() error { return d.apply([]portSpec{}) }
		s.measure = func(ctx context.Context, window time.Duration) (sample, error) {
			return w.measure(ctx, s, c.Containers, window)
		}
		return s
	}
}

func tapCrowd(s *stage, d *daemon, n int) crowd {
	ports := make([]portSpec, n)
	for i := range ports {
		ports[i] = portSpec{Name: "p" + strconv.Itoa(i), Kind: "tap", IPs: []netip.Prefix{netip.PrefixFrom(s.t.address(i), 32)},
			NetNS: s.rig.Containers[1].Path, IfName: "e" + strconv.Itoa(i)}
	}
	return crowd{add: func() error { return d.apply(ports) }}
}

func memifCrowd(s *stage, d *daemon, n int) crowd {
	ports := memifPorts(s.t, 0, n)
	return crowd{add: func() error { return d.apply(ports) }}
}

// clientSlots is how long the rings of the idle clients are.
const clientSlots = 16

func clientCrowd(s *stage, d *daemon, n int) crowd {
	w := memifCrowd(s, d, n)
	var clients *bed
	w.connect = func() error {
		o := orders{Kind: kindMemif, Traffic: s.t, Slots: clientSlots, Mode: modeRead, CPU: generatorCPU}
		for i := range n {
			o.Places = append(o.Places, d.place("p"+strconv.Itoa(i)))
		}
		clients = newBed(d.b.ctx, "clients")
		return clients.do(func() { startConsumer(clients, o) })
	}
	w.disconnect = func() { clients.close() }
	return w
}

// openDensityPeer attaches interfaces of the kernel's.
func openDensityPeer(kind func(b *bed, s *stage, n int) crowd) func(b *bed, c *testCase) *stage {
	return func(b *bed, c *testCase) *stage {
		s := crowdStage(b, c)
		w := kind(b, s, c.Containers)
		s.measure = func(ctx context.Context, window time.Duration) (sample, error) {
			return w.measure(ctx, s, c.Containers, window)
		}
		return s
	}
}

// crowdGroup is the group of interfaces by which all are deleted at once.
const crowdGroup = "77"

func bridgeCrowd(b *bed, s *stage, n int) crowd {
	batch(b, s.rig.Host, "ip", []string{"link add br0 type bridge mcast_snooping 0",
		"link set " + s.rig.NIC + " master br0", "link set br0 up"})
	pair := func(outer, inner, ns string) []string {
		return []string{
			fmt.Sprintf("link add %s group %s type veth peer name %s netns %s", outer, crowdGroup, inner, ns),
			"link set " + outer + " master br0", "link set " + outer + " up"}
	}
	return kernelCrowd(s, n, func(i int) []string { return pair(outer(i), "e"+strconv.Itoa(i), s.rig.Containers[1].Name) },
		pair("more", inner, s.rig.Containers[0].Name), s.rig.Host.Name)
}

func macvlanCrowd(b *bed, s *stage, n int) crowd {
	one := func(name, ns string) []string {
		return []string{fmt.Sprintf("link add link %s name %s group %s netns %s type macvlan mode bridge", s.rig.NIC, name, crowdGroup, ns)}
	}
	return kernelCrowd(s, n, func(i int) []string { return one("e"+strconv.Itoa(i), s.rig.Containers[1].Name) },
		one(inner, s.rig.Containers[0].Name), s.rig.Containers[1].Name)
}

// kernelCrowd makes interfaces with lines of ip, which all bear an address inside
// and are up; those of the group in the namespace of that name are deleted.
func kernelCrowd(s *stage, n int, lines func(i int) []string, more []string, groupNS string) crowd {
	home, one := s.rig.Containers[1], s.rig.Containers[0]
	run := func(ns string, lines []string) error {
		b := newBed(context.Background(), "ports")
		return b.do(func() {
			for _, c := range append(s.rig.Containers, s.rig.Host) {
				if c.Name == ns {
					batch(b, c, "ip", lines)
				}
			}
		})
	}
	return crowd{
		add: func() error {
			var outside, inside []string
			for i := range n {
				outside = append(outside, lines(i)...)
				name := "e" + strconv.Itoa(i)
				inside = append(inside, fmt.Sprintf("addr add %s/32 dev %s", s.t.address(i), name), "link set "+name+" up")
			}
			return errors.Join(run(s.rig.Host.Name, outside), run(home.Name, inside))
		},
		more: func() error {
			return errors.Join(run(s.rig.Host.Name, more),
				run(one.Name, []string{fmt.Sprintf("addr add %s/8 dev %s", oneMore(), inner), "link set " + inner + " up"}))
		},
		clear: func() error {
			err := run(groupNS, []string{"link del group " + crowdGroup})
			if _, there := one.Try("ip", "link", "show", inner); there == nil {
				err = errors.Join(err, run(one.Name, []string{"link del " + inner}))
			}
			return err
		},
	}
}

// measure attaches all ports and one more, looks at what that took, and removes
// them.
func (w *crowd) measure(ctx context.Context, s *stage, n int, window time.Duration) (out sample, err error) {
	more := map[string]float64{}
	timed := func(name string, unit time.Duration, fn func() error) {
		began := time.Now()
		if err == nil {
			err = fn()
		}
		more[name] = float64(time.Since(began)) / float64(unit)
	}
	before := memoryNow(w.pid)
	timed(figureAdd, time.Second, w.add)
	if w.connect != nil {
		timed(figureConnect, time.Second, w.connect)
		defer w.disconnect()
	}
	sleep(ctx, window) // what is freed late is freed
	after := memoryNow(w.pid)
	if w.pid > 0 {
		more[figureDaemon] = float64(after.daemon-before.daemon) / float64(n)
		idle := idleTime(window)
		more[figureQuiet] = w.settle(ctx, idle/10).Seconds()
		more[figureIdle] = 100 * w.use(ctx, idle)
	}
	more[figureKernel] = float64(after.kernel-before.kernel) / float64(n)
	timed(figureFirst, time.Millisecond, func() error {
		if err := w.more(); err != nil {
			return err
		}
		return s.rig.Wire.Do(func() error { return firstPing(ctx, oneMore()) })
	})
	timed(figureDelete, time.Second, w.clear)
	return sample{More: more}, err
}

// use is the daemon's part of a processor during d.
func (w *crowd) use(ctx context.Context, d time.Duration) float64 {
	used := processTime(w.pid)
	sleep(ctx, d)
	return float64(processTime(w.pid)-used) / float64(d)
}

// The daemon announces new ports to the wire, at a rate that harms nobody. It has
// settled when it uses less than that part of a processor, or after settleLimit.
const (
	settledUse  = 0.02
	settleLimit = 60 * time.Second
)

// settle waits until the daemon has nothing more to do, and says how long that was.
func (w *crowd) settle(ctx context.Context, step time.Duration) time.Duration {
	began := time.Now()
	for time.Since(began) < settleLimit && ctx.Err() == nil {
		if w.use(ctx, step) < settledUse {
			break
		}
	}
	return time.Since(began)
}

// idleWindow is how long nothing happens while the daemon's time is taken, unless
// the run's windows are too short for any figure to mean anything.
const (
	idleWindow    = 10 * time.Second
	leastSensible = 50 * time.Millisecond
)

func idleTime(window time.Duration) time.Duration {
	if window < leastSensible {
		return window
	}
	return max(window, idleWindow)
}

// memoryUse is in KiB.
type memoryUse struct{ daemon, kernel int64 }

func memoryNow(pid int) (m memoryUse) {
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.kernel = kernelMemory(text)
	}
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil {
		m.daemon = kibibytes(text)["VmRSS"]
	}
	return m
}

// kernelMemory is what of the memory is neither free, nor cache of files, nor of
// processes.
func kernelMemory(meminfo []byte) int64 {
	v := kibibytes(meminfo)
	return v["MemTotal"] - v["MemFree"] - v["Buffers"] - v["Cached"] - v["SwapCached"] - v["AnonPages"]
}

// kibibytes are the lines "Name: number kB" of a file under /proc.
func kibibytes(text []byte) map[string]int64 {
	values := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) == 2 && f[1] == "kB" {
			values[name], _ = strconv.ParseInt(f[0], 10, 64)
		}
	}
	return values
}

// processTime is what all threads of a process have used of the processors.
func processTime(pid int) (sum time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			ns, _ := strconv.ParseInt(strings.Fields(string(text) + " 0")[0], 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// firstPing sends an echo request every millisecond until one is answered.
func firstPing(ctx context.Context, to netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const echo, echoReply = 8, 0
	request := []byte{echo, 0, 0, 0, 0x78, 0x64, 0, 1}
	sum := checksum(request)
	request[2], request[3] = byte(sum>>8), byte(sum)
	answer := make([]byte, 128)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		_ = unix.Sendto(fd, request, 0, &unix.SockaddrInet4{Addr: to.As4()}) // an unresolved neighbour is tried again
		for {
			n, from, err := unix.Recvfrom(fd, answer, 0)
			if err != nil {
				break
			}
			sender, ok := from.(*unix.SockaddrInet4)
			if ok && sender.Addr == to.As4() && n >= 28 && answer[20] == echoReply {
				return nil
			}
		}
	}
	return fmt.Errorf("%s does not answer a ping within 10 s", to)
}
