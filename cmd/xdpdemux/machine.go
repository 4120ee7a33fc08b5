package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/cli"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/daemon"
	"github.com/xdpdemux/xdpdemux/cmd/internal/demo"
)

// machine joins the command line to what acts on the system.
func machine() cli.Machine {
	return cli.Machine{
		Attach: func(ctx context.Context, cfg config.Attach, tell api.Announcer) error {
			outliveReaders()
			return daemon.Attach(ctx, cfg, cli.Build().Version, tell)
		},
		Plan:    func(_ context.Context, cfg config.Attach) (api.Plan, error) { return daemon.Plan(cfg) },
		CleanUp: func(_ context.Context, cfg config.Attach) (api.CleanUp, error) { return daemon.CleanUp(cfg) },
		Demo: func(ctx context.Context, d cli.Demo) error {
			outliveReaders()
			program, err := os.Executable()
			if err != nil {
				return err
			}
			return demo.Run(ctx, demo.Config{Out: d.Out, Endless: d.Terminal, JSON: d.JSON, Program: program})
		},
	}
}

// outliveReaders has a write to a pipe that nobody reads any more fail, in place
// of ending the program on the spot: what it prints is worth less than what it
// would leave behind. A handler does that, for children do not inherit it.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
