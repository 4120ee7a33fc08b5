package daemon

import (
	"errors"
	"fmt"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/config"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
	"github.com/xdpdemux/xdpdemux/cmd/internal/state"
	"github.com/xdpdemux/xdpdemux/nic"
	"github.com/xdpdemux/xdpdemux/queues/netns"
	"github.com/xdpdemux/xdpdemux/queues/tap"
)

// CleanUp gives back what a daemon that died had changed, and removes what it
// left. The ports are remembered, as after an orderly detach. A daemon that
// lives is an error, and nothing is touched.
func CleanUp(cfg config.Attach) (c api.CleanUp, err error) {
	c = api.CleanUp{Restored: []string{}, Failed: []string{}}
	journal, err := state.Open(cfg.StateDir, cfg.NIC)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	r := &report{CleanUp: &c}
	if !state.Attached(cfg.StateDir, cfg.NIC) && control.Remains(cfg.RunDir, cfg.NIC) {
		if err := control.RemoveStale(cfg.RunDir, cfg.NIC); err != nil {
			return c, err
		}
		r.did(nil, "the control socket of a daemon that had changed nothing yet removed")
		return c, nil
	}
	if !state.Attached(cfg.StateDir, cfg.NIC) {
		return c, api.Errorf(api.CodeNoDaemon, "%s: no daemon serves it, and none left anything behind", cfg.NIC)
	}
	for _, e := range journal.Entries() {
		r.removePort(cfg, journal, e)
	}
	if err := removeSocketsDir(cfg); err != nil {
		r.did(err, "the directory of the memif sockets removed")
	}
	r.did(removeHostPort(cfg.NIC), "the host port removed, and its routes with it")
	r.restoreNIC(cfg.NIC, journal)
	return c, control.RemoveStale(cfg.RunDir, cfg.NIC)
}

// report collects what was done and what could not be.
type report struct{ *api.CleanUp }

func (r *report) did(err error, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if err != nil {
		r.Failed = append(r.Failed, fmt.Sprintf("%s: %v", what, err))
		return
	}
	r.Restored = append(r.Restored, what)
}

func (r *report) removePort(cfg config.Attach, journal *state.Store, e state.Entry) {
	what, err := clearPort(cfg, e.Spec, e.Facts)
	if err == nil && e.Phase != state.Ready {
		err = journal.Deleted(e.Spec.Name)
	}
	r.did(err, "%s of port %s removed", what, e.Spec.Name)
}

// removeHostPort deletes the host port of this NIC that a dead daemon left,
// whichever of its siblings it is; those of other NICs are left alone. Its
// routes go with it.
func removeHostPort(device string) error {
	self, err := netns.Self()
	if err != nil {
		return err
	}
	defer self.Close()
	return ignoreNotOurs(tap.Delete(self, "xdmx0", ownerOf(device, hostOwner)))
}

// sweep removes what a dead daemon left of ports that could not
// be restored, so that nothing of ours outlives the port or the daemon.
func (d *Daemon) sweep(ports []*port) error {
	var errs []error
	for _, p := range ports {
		if p.queue == nil && p.where != (state.Facts{}) {
			_, err := clearPort(d.cfg, p.spec, p.where)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (r *report) restoreNIC(device string, journal *state.Store) {
	var record nic.Record
	found, err := journal.LoadAttach(&record)
	if err == nil && found {
		err = errors.Join(ignoreGone(nic.Restore(record)), journal.RemoveAttach())
	}
	if err != nil || found {
		r.did(err, "%s as it was found", device)
	}
}

// hostOwner stands for the host port where ports have their name; no port can
// be called so.
const hostOwner = "*host"

// ownerOf is the mark by which an interface is known as ours.
func ownerOf(device, port string) string { return "xdpdemux:" + device + ":" + port }
