package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
)

// leaving is how long a daemon may take to end after it gave the NIC back.
const leaving = 30 * time.Second

func (a *app) detach() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detach NIC",
		Short: "Ask the daemon to leave, or clean up after one that died",
		Long: `Detach asks the daemon of a NIC to leave and waits until it has. The NIC is then
as it was found, and the containers' interfaces are gone; the ports themselves are
remembered, and come back with the next attach. If the daemon has died, detach
does what it could not do any more.`,
		Args: exactly(1, "the name of a NIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.settingsFor(args[0])
			if err != nil {
				return err
			}
			result, err := a.leave(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.show(result, detachTable(&result))
		},
	}
	a.addSettings(cmd, "run_dir", "state_dir")
	cmd.ValidArgsFunction = a.nicNames
	return cmd
}

func (a *app) leave(ctx context.Context, cfg config.Attach) (api.DetachResult, error) {
	result := api.DetachResult{NIC: cfg.NIC, Daemon: true}
	c := control.NewClient(cfg.RunDir, cfg.NIC)
	defer c.Close()
	err := c.Detach(ctx)
	if api.CodeOf(err) == api.CodeNoDaemon {
		return a.cleanUp(ctx, cfg)
	}
	if err != nil {
		return result, err
	}
	c.Close()
	ctx, stop := context.WithTimeout(ctx, leaving)
	defer stop()
	return result, c.WaitGone(ctx)
}

// cleanUp does what a daemon that died did not.
func (a *app) cleanUp(ctx context.Context, cfg config.Attach) (api.DetachResult, error) {
	result := api.DetachResult{NIC: cfg.NIC}
	if !state.Attached(cfg.StateDir, cfg.NIC) && !control.Remains(cfg.RunDir, cfg.NIC) {
		return result, &api.Error{Code: api.CodeNoDaemon, Message: "NIC " + cfg.NIC + ": no daemon runs, and none left anything behind",
			Hint: "check --run-dir and --state-dir if there should be one"}
	}
	if a.env.Machine.CleanUp == nil {
		return result, cannot("detach without a daemon")
	}
	done, err := a.env.Machine.CleanUp(ctx, cfg)
	if err != nil {
		return result, err
	}
	if len(done.Failed) > 0 {
		return result, api.Errorf(api.CodeFailed, "NIC %s: not all of it could be given back: %s", cfg.NIC, done.Failed[0]).
			WithHint("put that right, then detach again")
	}
	result.CleanUp = &done
	return result, nil
}

func detachTable(r *api.DetachResult) func(io.Writer) {
	return func(w io.Writer) {
		if r.Daemon {
			fmt.Fprintf(w, "%s: the daemon left; the NIC is as it was found\n", r.NIC)
			return
		}
		fmt.Fprintf(w, "%s: the daemon had died; the NIC is as it was found\n", r.NIC)
		lines(w, "  ", r.CleanUp.Restored)
	}
}
