package cli

import (
	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

const attachLong = `Attach is the daemon. It stays in the foreground, says in one line that it is
ready, and gives the NIC back as it was found when it gets SIGINT, SIGTERM or
SIGHUP, or when detach asks it to. Ports that were added before come back.

Frames of containers go past the host's own stack: its nftables rules do not see
them, nor does tcpdump on the NIC. All other frames stay with the host.`

func (a *app) attach() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "attach NIC",
		Short: "Run the daemon that puts containers on a NIC",
		Long:  attachLong,
		Args:  exactly(1, "the name of a NIC"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.settingsFor(args[0])
			if err != nil {
				return err
			}
			if dryRun {
				return a.dryRun(cmd, cfg)
			}
			if a.env.Machine.Attach == nil {
				return cannot("attach")
			}
			return a.env.Machine.Attach(cmd.Context(), cfg, a.announcer())
		},
	}
	a.addSettings(cmd, "run_dir", "state_dir", "mode", "zero_copy", "queues", "workers",
		"ring_size", "frame_size", "max_ports", "allow_link_reset", "no_host_port", "wire_checksum", "wire_gso", "busy_poll", "busy_poll_budget")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be chosen and changed, and touch nothing")
	a.complete(cmd, "mode", words(config.ModeAuto, config.ModeNative, config.ModeGeneric))
	a.complete(cmd, "zero-copy", words(config.ZeroCopyOff, config.ZeroCopyAuto, config.ZeroCopyOn))
	a.complete(cmd, "wire-checksum", words(config.ChecksumAuto, config.ChecksumTrust, config.ChecksumComplete))
	return cmd
}

// settingsFor are those of this run for the NIC that the command line names.
func (a *app) settingsFor(nic string) (config.Attach, error) {
	if err := api.ValidateIfName(nic); err != nil {
		return config.Attach{}, err
	}
	cfg, err := a.settings()
	cfg.NIC = nic
	return cfg, err
}

// cannot is for a Machine that lacks a function.
func cannot(what string) error {
	return api.Errorf(api.CodeUnsupported, "%s: this build cannot do it", what)
}

func (a *app) dryRun(cmd *cobra.Command, cfg config.Attach) error {
	if a.env.Machine.Plan == nil {
		return cannot("attach --dry-run")
	}
	plan, err := a.env.Machine.Plan(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if err := a.show(plan, planTable(&plan)); err != nil {
		return err
	}
	if len(plan.Refusals) > 0 {
		return api.Errorf(api.CodeFailed, "NIC %s: attach would be refused: %s", plan.NIC, plan.Refusals[0])
	}
	return nil
}
