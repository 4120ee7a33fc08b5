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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(cli.Run(ctx, cli.System(machine())))
}
