package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

// candidates completes a word on the command line.
type candidates = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// complete registers the completion of a flag that was added before.
func (a *app) complete(cmd *cobra.Command, flag string, c candidates) {
	if err := cmd.RegisterFlagCompletionFunc(flag, c); err != nil {
		cobra.CompErrorln(err.Error())
	}
}

// words completes to one of a fixed list.
func words(list ...string) candidates {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// nicNames completes to the NICs that have a daemon.
func (a *app) nicNames(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	cfg, err := a.settings()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	nics, err := control.Discover(cfg.RunDir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return nics, cobra.ShellCompDirectiveNoFileComp
}

// portNames completes to the ports of the daemon.
func (a *app) portNames(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer c.Close()
	ctx, stop := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer stop()
	ports, err := c.Ports(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for i := range ports {
		names = append(names, ports[i].Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
