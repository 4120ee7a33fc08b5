package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// strictHelp has the commands that cobra brings, help and completion, refuse what
// they do not know, as all others do: cobra's own print a help and succeed.
func (a *app) strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(a.env.Args...)
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			show := cmd.Run
			cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
				if err := a.topic(root, args); err != nil {
					return err
				}
				show(cmd, args)
				return nil
			}
		case "completion":
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, noSuchShell
		}
	}
}

// topic says whether help can be had about the words args.
func (a *app) topic(root *cobra.Command, args []string) error {
	found, rest, err := root.Find(args)
	switch {
	case err != nil || found == root && len(rest) > 0:
		return a.noSuchCommand(root, args)
	case len(rest) > 0:
		return usage("see "+found.CommandPath()+" --help", "help %s: there is no such command", strings.Join(args, " "))
	}
	return nil
}

func noSuchShell(cmd *cobra.Command, args []string) error {
	var shells []string
	for _, sub := range cmd.Commands() {
		shells = append(shells, sub.Name())
	}
	slices.Sort(shells)
	hint := "give one of " + strings.Join(shells, ", ")
	if len(args) == 0 {
		return usage(hint, "completion: the shell is missing")
	}
	return usage(hint, "completion: the shell %q is unknown", args[0])
}

// wrongValue says what a flag's value is not, where cobra would tell of the
// function that read it.
func wrongValue(err error) error {
	e, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	flag, why := e.GetFlag(), errors.Unwrap(err)
	if number, ok := errors.AsType[*strconv.NumError](err); ok {
		why = number.Err
		if flag.Value.Type() == "int" && errors.Is(why, strconv.ErrSyntax) {
			why = errors.New("it is no whole number")
		}
	}
	if flag.Value.Type() == "duration" {
		return usage("give a number with a unit, as 500ms or 2s", "flag --%s %q: it is no time", flag.Name, e.GetValue())
	}
	return api.Errorf(api.CodeUsage, "flag --%s %q: %w", flag.Name, e.GetValue(), why)
}
