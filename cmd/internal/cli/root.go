package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

const rootLong = `xdpdemux puts many containers on one NIC. A daemon, started with attach, takes
the frames of known containers off the NIC by AF_XDP and places each on its
container's own queue; all other commands ask that daemon.

Settings come from flags, else from environment variables (XDPDEMUX_RUN_DIR
for --run-dir, and so on), else from a TOML file (run_dir = "…"), else they
have the defaults shown.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 no permission.`

func (a *app) root() *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:                        "xdpdemux",
		Short:                      "Many containers on one NIC, with AF_XDP",
		Long:                       rootLong,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 1,
		Args:                       a.noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version {
				return a.showVersion(cmd, nil)
			}
			return usage("see xdpdemux --help", "command: it is missing")
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			a.started = true
			return a.checkOutput()
		},
	}
	root.SetIn(a.env.Stdin)
	root.SetOut(a.env.Stdout)
	root.SetErr(a.env.Stderr)
	root.Flags().BoolVar(&version, "version", false, "print the version, as the command of that name does")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", "table", "output: table or json")
	root.PersistentFlags().StringVar(&a.file, "config", "",
		"TOML file of settings (default: XDPDEMUX_CONFIG, else "+config.DefaultFile+" if it is there)")
	root.AddCommand(a.attach(), a.detach(), a.add(), a.set(), a.apply(), a.del(),
		a.ls(), a.stats(), a.top(), a.demo(), a.version())
	a.strictHelp(root)
	return root
}

func (a *app) noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "see xdpdemux --help"
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		hint = "did you mean " + strings.Join(like, " or ") + "?"
	}
	return usage(hint, "command %q: there is no such command", args[0])
}

func (a *app) checkOutput() error {
	if a.output != "table" && a.output != "json" {
		return usage("give table or json", "output %q: there is no such form", a.output)
	}
	return nil
}

// settings are those of this run, validated.
func (a *app) settings() (config.Attach, error) {
	cfg, err := config.Load(config.Sources{Flags: a.flags, Getenv: a.env.Getenv, ReadFile: a.env.ReadFile, File: a.file})
	if err == nil {
		err = cfg.Validate()
	}
	return cfg, err
}

// client is one for the daemon of the NIC that is set, or else of the only one.
func (a *app) client() (*control.Client, error) {
	cfg, err := a.settings()
	if err != nil {
		return nil, err
	}
	if cfg.NIC == "" {
		if cfg.NIC, err = control.Only(cfg.RunDir); err != nil {
			return nil, err
		}
	}
	return control.NewClient(cfg.RunDir, cfg.NIC), nil
}

// ask makes the body of a command of a function that asks the daemon. What can
// be wrong with the command line was said before, in PreRunE.
func (a *app) ask(do func(ctx context.Context, c *control.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd.Context(), c, args)
	}
}
