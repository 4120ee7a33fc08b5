package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

const applyLong = `Apply makes the ports what a file says: it adds those that are missing, changes
those that differ without losing a frame of them, and removes all others. A port
whose interface itself must change (kind, MAC, VLAN, netns or name, and all that
only memif has) is removed and made anew. A second time it does nothing.

The file is TOML, or JSON as the control socket takes it ({"ports": […]}). A key
has the name of the flag of add, with _ for -; ips, prefixes and gateways may be
written for ip, prefix and gateway, and take a list:

  [[port]]
  name    = "web1"
  ip      = ["10.0.0.5/24", "2001:db8::5/64"]
  gateway = "10.0.0.1"
  netns   = "web1"

  [[port]]
  name        = "fast1"
  kind        = "memif"
  ip          = "10.0.0.6/24"
  uid         = 65534
  secret_file = "/etc/xdpdemux/fast1.secret"

Everything is checked before anything is done.`

func (a *app) apply() *cobra.Command {
	var file string
	var dryRun bool
	var specs []api.PortSpec
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the ports what a file says",
		Long:  applyLong,
		Args:  exactly(0, "none but -f"),
		PreRunE: func(*cobra.Command, []string) (err error) {
			specs, err = a.readPorts(file)
			return err
		},
		RunE: a.ask(func(ctx context.Context, c *control.Client, _ []string) error {
			result, err := c.Apply(ctx, api.ApplyRequest{Ports: specs, DryRun: dryRun})
			if err != nil {
				return err
			}
			return a.show(result, applyTable(&result, dryRun))
		}),
	}
	cmd.Flags().StringVarP(&file, "filename", "f", "", "`file` to read, - for standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the difference and do nothing")
	return a.asks(cmd)
}

// maxFile is the longest file of ports, in bytes.
const maxFile = 64 << 20

func (a *app) readPorts(file string) ([]api.PortSpec, error) {
	if file == "" {
		return nil, usage("say -f FILE, or -f - for standard input", "apply: the file is missing")
	}
	data, err := a.readInput(file)
	if err != nil {
		return nil, err
	}
	if file == "-" {
		file = "standard input"
	}
	return config.ReadPorts(file, data, a.env.ReadFile)
}

func (a *app) readInput(file string) ([]byte, error) {
	if file != "-" {
		data, err := a.env.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, usage("name a file that can be read", "%w", err)
		}
		return data, err
	}
	data, err := io.ReadAll(io.LimitReader(a.env.Stdin, maxFile+1))
	if len(data) > maxFile {
		return nil, usage("apply less at once", "standard input: it is longer than %d bytes", maxFile)
	}
	return data, err
}

func applyTable(r *api.ApplyResult, dryRun bool) func(io.Writer) {
	return func(w io.Writer) {
		verb := "done: "
		if dryRun {
			verb = "would be done: "
			lines(w, "- ", r.Removed)
			lines(w, "! ", r.Replaced)
			lines(w, "~ ", r.Changed)
			lines(w, "+ ", r.Added)
		}
		fmt.Fprintf(w, "%s%d added, %d changed, %d replaced, %d removed, %d unchanged\n", verb,
			len(r.Added), len(r.Changed), len(r.Replaced), len(r.Removed), len(r.Unchanged))
	}
}
