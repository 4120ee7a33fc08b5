package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
	"github.com/xdpdemux/xdpdemux/cmd/internal/control"
)

// topOptions are the flags of top.
type topOptions struct {
	interval time.Duration
	count    int
	rows     int
}

func (a *app) top() *cobra.Command {
	var opt topOptions
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show live rates, the busiest ports first",
		Long: `Top prints rates, the busiest ports first, until Ctrl-C: on a terminal in place,
else one table below the other, and with -o json one line for each look.`,
		Args: exactly(0, "none"),
		PreRunE: func(*cobra.Command, []string) error {
			if opt.interval < 10*time.Millisecond || opt.rows < 1 || opt.count < 0 {
				return usage("give an --interval of at least 10ms, --rows of at least 1, --count of at least 0", "top: a number is out of range")
			}
			return nil
		},
		RunE: a.ask(func(ctx context.Context, c *control.Client, _ []string) error {
			return a.watch(ctx, c, opt)
		}),
	}
	cmd.Flags().DurationVar(&opt.interval, "interval", time.Second, "`time` between two looks")
	cmd.Flags().IntVar(&opt.count, "count", 0, "`times` to print, 0 for until Ctrl-C")
	cmd.Flags().IntVar(&opt.rows, "rows", 20, "the most `ports` to show")
	return a.asks(cmd)
}

// watch prints rates until it has done so often enough, or ctx ends.
func (a *app) watch(ctx context.Context, c *control.Client, opt topOptions) error {
	before, err := c.Stats(ctx, nil)
	if err != nil {
		return err
	}
	tick := time.NewTicker(opt.interval)
	defer tick.Stop()
	for n := 0; opt.count == 0 || n < opt.count; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := c.Stats(ctx, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := a.tick(api.RatesBetween(&before, &now), opt.rows); err != nil {
			return err
		}
		before = now
	}
	return nil
}

// tick prints one look: a table, or one line of JSON.
func (a *app) tick(r api.Rates, rows int) error {
	slices.SortStableFunc(r.Ports, func(a, b api.PortRates) int { return cmp.Compare(b.RxFrames+b.TxFrames, a.RxFrames+a.TxFrames) })
	quieter := max(0, len(r.Ports)-rows)
	r.Ports = r.Ports[:len(r.Ports)-quieter]
	if a.output == "json" {
		return json.NewEncoder(a.env.Stdout).Encode(r)
	}
	return a.show(r, func(w io.Writer) {
		if a.env.Terminal {
			io.WriteString(w, clear)
		}
		rateTable(w, &r)
		if quieter > 0 {
			fmt.Fprintf(w, "and %d quieter ones\n", quieter)
		}
	})
}

// clear moves a terminal's cursor home and erases what was there (ECMA-48).
const clear = "\x1b[H\x1b[2J"

func rateTable(w io.Writer, r *api.Rates) {
	fmt.Fprintf(w, "%s %s: %s frames/s, %s dropped/s\n", r.NIC, r.Time.Format(time.TimeOnly), number(r.Frames), number(r.Dropped))
	table := [][]string{{"PORT", "RX-FRAMES/s", "RX-bit/s", "TX-FRAMES/s", "TX-bit/s", "DROPPED/s"}}
	for _, p := range r.Ports {
		table = append(table, []string{p.Name, number(p.RxFrames), number(p.RxBits), number(p.TxFrames), number(p.TxBits), number(p.Dropped)})
	}
	columns(w, table, false, true, true, true, true, true)
}

// number prints three digits and a factor.
func number(f float64) string {
	for _, unit := range []struct {
		factor float64
		name   string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if f >= unit.factor {
			return fmt.Sprintf("%.3g%s", f/unit.factor, unit.name)
		}
	}
	return fmt.Sprintf("%.3g", f)
}
