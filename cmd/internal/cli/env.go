// Package cli is the command line of xdpdemux. Run is all of it: what it reads
// and writes, and what it does to the machine, comes in with an Env, so that
// each command can be run in a test.
package cli

//go:generate go test -run "^(TestDocs|TestLs|TestStats|TestTop|TestAttach)$" . -update

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
)

// Env is the world outside a command.
type Env struct {
	// Args without the program's name.
	Args []string
	// Stdin, Stdout and Stderr of the process.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal says that Stdout is one.
	Terminal bool
	// Getenv looks up an environment variable; "" means unset.
	Getenv func(string) string
	// ReadFile reads a file.
	ReadFile func(string) ([]byte, error)
	// Machine is what some commands do beyond asking a daemon.
	Machine Machine
}

// Machine holds what the daemon and the demo bring in. Errors may be
// *api.Error; one that is fs.ErrPermission ends the program with status 4.
type Machine struct {
	// Attach is the daemon: it returns nil after ctx ended, or detach was
	// asked for, and the NIC is as it was found.
	Attach func(ctx context.Context, cfg config.Attach, tell api.Announcer) error
	// Plan is what Attach would do; it touches nothing.
	Plan func(ctx context.Context, cfg config.Attach) (api.Plan, error)
	// CleanUp gives a NIC back whose daemon died. Where none left anything
	// behind, the error is CodeNoDaemon.
	CleanUp func(ctx context.Context, cfg config.Attach) (api.CleanUp, error)
	// Demo shows everything on an empty machine. On a terminal it goes on
	// until ctx ends, else it ends by itself.
	Demo func(ctx context.Context, d Demo) error
}

// Demo says how the demo shows itself.
type Demo struct {
	// Out is where it writes.
	Out io.Writer
	// Terminal says that Out is one.
	Terminal bool
	// JSON asks for nothing but api.Rates, one on each line.
	JSON bool
}

// System is the Env of this process.
func System(machine Machine) Env {
	return Env{
		Args:     os.Args[1:],
		Stdin:    os.Stdin,
		Stdout:   os.Stdout,
		Stderr:   os.Stderr,
		Terminal: isTerminal(os.Stdout),
		Getenv:   os.Getenv,
		ReadFile: os.ReadFile,
		Machine:  machine,
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
