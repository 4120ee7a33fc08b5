// Command xdpdemux puts many containers on one NIC. It is the daemon and the
// command line that speaks to it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/xdpdemux/xdpdemux/cmd/internal/cli"
)

func main() {
	ctx, end := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, endings()...)
	go obey(signals, end)
	os.Exit(cli.Run(ctx, cli.System(machine())))
}

// endings are the signals that end the program well. A hangup is none where the
// program was started so that it ignores it, as nohup does.
func endings() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return []os.Signal{os.Interrupt, syscall.SIGTERM}
	}
	return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
}

// obey ends the program well at the first signal and at once at the second. A
// hangup does not count as a second one: where a terminal is closed, it comes
// from the kernel and from the shell. The handlers stay until then: taking one
// away while the program starts another one may crash both, for the runtime's
// child between fork and exec then keeps a handler that it cannot run.
func obey(signals <-chan os.Signal, end func()) {
	<-signals
	end()
	for s := range signals {
		if n, ok := s.(syscall.Signal); ok && n != syscall.SIGHUP {
			signal.Reset(n)
			_ = syscall.Kill(os.Getpid(), n)
		}
	}
}
