package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// announcer prints how attach goes on: as text, or each event as one line of JSON.
func (a *app) announcer() api.Announcer {
	return &announcer{w: a.env.Stdout, json: a.output == "json"}
}

type announcer struct {
	mu   sync.Mutex
	w    io.Writer
	json bool
}

// Chosen implements api.Announcer.
func (n *announcer) Chosen(p api.Plan) {
	n.say(api.AttachEvent{Event: api.EventChosen, Plan: &p}, planTable(&p))
}

// Ready implements api.Announcer.
func (n *announcer) Ready(s api.Status) {
	n.say(api.AttachEvent{Event: api.EventReady, Status: &s}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: ready: %s, %s\n", s.NIC, how(&s), plural(s.Ports, "port"))
	})
}

// Notice implements api.Announcer.
func (n *announcer) Notice(line string) {
	n.say(api.AttachEvent{Event: api.EventNotice, Notice: line}, func(w io.Writer) { fmt.Fprintln(w, line) })
}

func (n *announcer) say(event api.AttachEvent, text func(io.Writer)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.json {
		text(n.w)
		return
	}
	line, err := json.Marshal(event)
	if err == nil {
		fmt.Fprintf(n.w, "%s\n", line)
	}
}

// how says in a few words how a NIC is served.
func how(s *api.Status) string {
	data := "copy"
	if s.ZeroCopy {
		data = "zero-copy"
	}
	return fmt.Sprintf("driver %s, %s, %s, %s, %s", s.Driver, s.Mode, data,
		plural(s.Queues, "queue"), plural(s.Workers, "worker"))
}

// planTable prints what attach chose.
func planTable(p *api.Plan) func(io.Writer) {
	return func(w io.Writer) {
		fmt.Fprintf(w, "%s: driver %s, MAC %v, MTU %d\n", p.NIC, p.Driver, p.MAC, p.MTU)
		fmt.Fprintf(w, "  XDP %s, zero-copy %s\n", p.Mode, p.ZeroCopy)
		fmt.Fprintf(w, "  %s, %s, rings of %d frames of %d bytes, %.1f MiB of packet memory\n",
			plural(p.Queues, "queue"), plural(p.Workers, "worker"), p.RingSize, p.FrameSize, float64(p.MemoryBytes)/(1<<20))
		fmt.Fprintf(w, "  checksums from the wire: %s\n", p.WireChecksum)
		if p.BusyPoll > 0 {
			fmt.Fprintf(w, "  busy polling for %d µs, %s at once\n", p.BusyPoll, plural(p.BusyPollBudget, "frame"))
		}
		if p.HostPort != "" {
			fmt.Fprintf(w, "  host port %s\n", p.HostPort)
		}
		fmt.Fprintf(w, "  at most %s, which need %d of %d descriptors (%s)\n", plural(p.MaxPorts, "port"), p.DescriptorsNeeded, p.DescriptorsLimit,
			descriptors(p))
		if p.Adopted > 0 {
			fmt.Fprintf(w, "  adopts %s\n", plural(p.Adopted, "port"))
		}
		lines(w, "  changes: ", p.Changes)
		lines(w, "  host: ", p.Host)
		lines(w, "  warning: ", p.Warnings)
		lines(w, "  refused: ", p.Refusals)
	}
}

// descriptors says what a port holds.
func descriptors(p *api.Plan) string {
	var each []string
	for _, kind := range slices.Sorted(maps.Keys(p.DescriptorsPerPort)) {
		each = append(each, fmt.Sprintf("a %s %d", kind, p.DescriptorsPerPort[kind]))
	}
	return fmt.Sprintf("%s, a memif client %d more", strings.Join(each, ", "), p.DescriptorsPerMemifClient)
}

func lines(w io.Writer, prefix string, list []string) {
	for _, s := range list {
		fmt.Fprintln(w, prefix+s)
	}
}
