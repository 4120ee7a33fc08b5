package daemon

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// spare is how many descriptors are kept for what is not a port: sockets,
// rings, maps, requests.
const spare = 256

// raiseLimits lifts the soft limit of open descriptors to the hard one, which
// needs no privilege.
func raiseLimits() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the descriptor limit: %w", err)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raising the descriptor limit to %d: %w", limit.Max, err)
	}
	return nil
}

// descriptorLimit is the most that this process may open.
func descriptorLimit() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Max, 1<<30))
}

// perTAP is what one tap port holds, for an estimate.
func perTAP(workers int) int { return tapKind{}.descriptors(nil, workers) }

// held is how many descriptors the ports of those names give back.
func (d *Daemon) held(names []string) (n int) {
	for _, name := range names {
		if p := d.ports[name]; p != nil && p.queue != nil {
			n += d.kinds[p.spec.Kind].descriptors(&p.spec, d.crew.size())
		}
	}
	return n
}

// checkDescriptors refuses ports for which descriptors would run out half way.
func (d *Daemon) checkDescriptors(ports, need int) error {
	limit := descriptorLimit()
	free := limit - openDescriptors() - spare
	if need <= free {
		return nil
	}
	return api.Errorf(api.CodeLimit, "%d more ports need %d descriptors, and %d of %d are free", ports, need, max(free, 0), limit).
		WithHint("raise the limit (LimitNOFILE= of the service), or attach with fewer --workers")
}

func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// threadTime is the processor time of the calling thread in nanoseconds.
func threadTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// setNice lowers the calling thread's share of its processor.
func setNice(n int) error { return unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), n) }
