package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

func (a *app) stats() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [NAME…]",
		Short: "Print the counters, with every lost frame by its reason",
		Long: `Stats prints what became of the frames of each source, and the counters of all
ports, or of those that are named. Each frame is counted at exactly one place: the
line conservation says whether the sum is right.`,
		PreRunE: areNames,
		RunE: a.ask(func(ctx context.Context, c *control.Client, args []string) error {
			s, err := c.Stats(ctx, args)
			if err != nil {
				return err
			}
			return a.show(s, func(w io.Writer) { statsTable(w, &s) })
		}),
	}
	cmd.ValidArgsFunction = a.portNames
	return a.asks(cmd)
}

func statsTable(w io.Writer, s *api.Stats) {
	rows := [][]string{{"SOURCE", "RECEIVED", "DELIVERED", "FLOODED", "TO-HOST", "TO-WIRE", "ANSWERED", "IN-FLIGHT", "DROPPED", "WHY"}}
	for _, source := range []struct {
		name string
		flow *api.Flow
	}{{"wire", &s.Wire}, {"host", &s.Host}, {"containers", &s.Containers}, {"injected", &s.Injected}, {"total", &s.Total}} {
		rows = append(rows, flowRow(source.name, source.flow))
	}
	columns(w, rows, false, true, true, true, true, true, true, true, true, false)
	fmt.Fprintln(w, conservation(&s.Total))
	kernelLines(w, &s.Kernel)
	if len(s.Ports) > 0 {
		fmt.Fprintln(w)
		portStatsTable(w, s.Ports)
	}
}

func flowRow(name string, f *api.Flow) []string {
	row := []string{name}
	for _, n := range []uint64{f.Received, f.Delivered, f.Flooded, f.ToHost, f.ToWire, f.Answered, f.InFlight, f.Dropped()} {
		row = append(row, strconv.FormatUint(n, 10))
	}
	return append(row, reasons(f.Drops))
}

// reasons lists what is not zero, by name.
func reasons(counts map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
		}
	}
	return strings.Join(parts, ", ")
}

func conservation(f *api.Flow) string {
	s := fmt.Sprintf("conservation: %d received = %d delivered + %d flooded + %d to host + %d to wire + %d answered + %d in flight + %d dropped",
		f.Received, f.Delivered, f.Flooded, f.ToHost, f.ToWire, f.Answered, f.InFlight, f.Dropped())
	if off := f.Unaccounted(); off != 0 {
		return fmt.Sprintf("%s: off by %d (a few, while frames flow, are on their way between two counters)", s, off)
	}
	return s
}

func kernelLines(w io.Writer, k *api.KernelStats) {
	fmt.Fprintf(w, "kernel: redirected %d%s, passed to the host %d%s\n",
		total(k.Redirected), inBrackets(reasons(k.Redirected)), total(k.Passed), inBrackets(reasons(k.Passed)))
	for _, s := range k.Sockets {
		fmt.Fprintf(w, "queue %d: received %d, sent %d%s\n", s.Queue, s.Received, s.Sent, inBrackets(reasons(map[string]uint64{
			"rx_dropped": s.RxDropped, "rx_invalid_descs": s.RxInvalidDescs, "tx_invalid_descs": s.TxInvalidDescs,
			"rx_ring_full": s.RxRingFull, "fill_ring_empty": s.FillRingEmpty, "tx_ring_empty": s.TxRingEmpty,
			"tx_errors": s.TxErrors,
		})))
	}
}

func total(counts map[string]uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

func inBrackets(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func portStatsTable(w io.Writer, ports []api.PortStats) {
	rows := [][]string{{"PORT", "RX-FRAMES", "RX-BYTES", "TX-FRAMES", "TX-BYTES", "RX-DROPPED", "TX-DROPPED", "TX-REFUSED", "WHY"}}
	for i := range ports {
		p := &ports[i]
		row := []string{p.Name}
		for _, n := range []uint64{p.RxFrames, p.RxBytes, p.Tx.Received, p.Tx.Bytes, total(p.RxDrops), p.Tx.Dropped(), total(p.TxRefused)} {
			row = append(row, strconv.FormatUint(n, 10))
		}
		rows = append(rows, append(row, why(p)))
	}
	columns(w, rows, false, true, true, true, true, true, true, true, false)
}

func why(p *api.PortStats) string {
	var parts []string
	if rx := reasons(p.RxDrops); rx != "" {
		parts = append(parts, "rx: "+rx)
	}
	if tx := reasons(p.Tx.Drops); tx != "" {
		parts = append(parts, "tx: "+tx)
	}
	if refused := reasons(p.TxRefused); refused != "" {
		parts = append(parts, "refused: "+refused)
	}
	if p.SlowLane {
		parts = append(parts, "slow lane")
	}
	return strings.Join(parts, "; ")
}
