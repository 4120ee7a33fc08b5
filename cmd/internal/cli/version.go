package cli

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Version is set by the linker (make build). It is never written otherwise.
var Version string

// Build names this program.
func Build() api.Version {
	v := api.Version{Version: Version, Go: runtime.Version(), API: api.Prefix[1:]}
	if info, ok := debug.ReadBuildInfo(); ok && v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" {
		v.Version = "unknown"
	}
	return v
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, as xdpdemux --version does",
		Args:  exactly(0, "none"),
		RunE:  a.showVersion,
	}
}

func (a *app) showVersion(*cobra.Command, []string) error {
	v := Build()
	return a.show(v, func(w io.Writer) { fmt.Fprintf(w, "xdpdemux %s (API %s, %s)\n", v.Version, v.API, v.Go) })
}

func (a *app) demo() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show the whole thing on an empty machine",
		Long: `Demo builds a veth NIC, three containers and a machine on the wire, all in network
namespaces of its own, runs real traffic through them and prints what flows. It
ends with Ctrl-C, or by itself if standard output is no terminal, and leaves
nothing behind. With -o json it prints the rates alone, one line each second.`,
		Args: exactly(0, "none"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.env.Machine.Demo == nil {
				return cannot("demo")
			}
			return a.env.Machine.Demo(cmd.Context(), Demo{Out: a.env.Stdout, Terminal: a.env.Terminal, JSON: a.output == "json"})
		},
	}
}
