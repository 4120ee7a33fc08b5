package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// The exit codes.
const (
	ExitOK         = 0
	ExitFailed     = 1
	ExitUsage      = 2
	ExitNoDaemon   = 3
	ExitPermission = 4
)

// Run does what env.Args say and returns the exit code. A failure is one line
// on env.Stderr that says what, why and what to do. ctx ends with the signal
// that shall end the program.
func Run(ctx context.Context, env Env) int {
	a := &app{env: env, flags: map[string]string{}}
	root := a.root()
	root.SetArgs(env.Args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if !a.started {
		err = asUsage(err)
	}
	fmt.Fprintln(env.Stderr, "xdpdemux: "+message(err))
	return exitCode(err)
}

// app is one run of the program.
type app struct {
	env     Env
	flags   map[string]string // settings that were given as flags, by key
	file    string            // --config
	output  string            // --output
	started bool              // the command line was understood
}

// asUsage gives the errors of cobra, which come before any command has
// started, the code and the hint that they lack.
func asUsage(err error) error {
	if api.CodeOf(err) == api.CodeUsage {
		return err
	}
	return usage("see xdpdemux --help", "%w", wrongValue(err))
}

func usage(hint, format string, args ...any) error {
	return api.Errorf(api.CodeUsage, format, args...).WithHint(hint)
}

func exitCode(err error) int {
	switch api.CodeOf(err) {
	case api.CodeUsage:
		return ExitUsage
	case api.CodeNoDaemon:
		return ExitNoDaemon
	case api.CodePermission:
		return ExitPermission
	}
	if errors.Is(err, fs.ErrPermission) {
		return ExitPermission
	}
	return ExitFailed
}

// message is the line that tells of an error. The kernel's bare refusals get
// the advice that they lack.
func message(err error) string {
	text := oneLine(err.Error())
	if e, ok := errors.AsType[*api.Error](err); exitCode(err) == ExitPermission && (!ok || e.Hint == "") {
		text += "; run it as root, with all capabilities"
	}
	return text
}

// oneLine joins the lines of a message.
func oneLine(s string) string {
	var parts []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}

// exactly and atLeast want operands and say which.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return wrongOperands(cmd, what, len(args))
		}
		return nil
	}
}

func atLeast(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return wrongOperands(cmd, what, len(args))
		}
		return nil
	}
}

func wrongOperands(cmd *cobra.Command, what string, got int) error {
	return usage("see "+cmd.CommandPath()+" --help", "%s: it takes %s, not %d operands", cmd.Name(), what, got)
}
