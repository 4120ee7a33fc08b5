package control

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// Discover names the NICs whose daemons run, sorted: those with a socket under
// runDir that somebody listens on.
func Discover(runDir string) ([]string, error) {
	files, err := os.ReadDir(runDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, forbidden(runDir)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeFailed, "run directory: %w", err)
	}
	var nics []string
	for _, f := range files {
		if nic, ok := strings.CutSuffix(f.Name(), ".sock"); ok && listens(SocketPath(runDir, nic)) {
			nics = append(nics, nic)
		}
	}
	return nics, nil
}

// Only names the NIC of the only daemon that runs. None is CodeNoDaemon,
// several are CodeUsage.
func Only(runDir string) (string, error) {
	nics, err := Discover(runDir)
	switch {
	case err != nil:
		return "", err
	case len(nics) == 0:
		return "", noDaemon("no daemon: none answers in "+runDir, "start one with xdpdemux attach NIC, or name its --run-dir")
	case len(nics) > 1:
		return "", &api.Error{Code: api.CodeUsage, Message: "several daemons run: " + strings.Join(nics, ", "),
			Hint: "say which with --nic"}
	}
	return nics[0], nil
}
