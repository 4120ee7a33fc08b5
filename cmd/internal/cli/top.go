package cli

import (
	"cmp"
	"context"
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
		Args:  exactly(0, "none"),
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
		if err := a.show(now, a.topTable(&before, &now, opt.rows)); err != nil {
			return err
		}
		before = now
	}
	return nil
}

// clear moves a terminal's cursor home and erases what was there (ECMA-48).
const clear = "\x1b[H\x1b[2J"

func (a *app) topTable(before, now *api.Stats, rows int) func(io.Writer) {
	return func(w io.Writer) {
		if a.env.Terminal {
			io.WriteString(w, clear)
		}
		seconds := now.Time.Sub(before.Time).Seconds()
		fmt.Fprintf(w, "%s %s: %s frames/s, %s dropped/s\n", now.NIC, now.Time.Format(time.TimeOnly),
			number(per(seconds, before.Total.Received, now.Total.Received)),
			number(per(seconds, before.Total.Dropped(), now.Total.Dropped())))
		rateTable(w, rates(before, now, seconds), rows)
	}
}

// rate is what one port did, each second.
type rate struct {
	name                               string
	rxFrames, rxBits, txFrames, txBits float64
	drops                              float64
}

// rates are those of the ports that are in both, the busiest first.
func rates(before, now *api.Stats, seconds float64) []rate {
	was := make(map[string]*api.PortStats, len(before.Ports))
	for i := range before.Ports {
		was[before.Ports[i].Name] = &before.Ports[i]
	}
	var all []rate
	for i := range now.Ports {
		if old := was[now.Ports[i].Name]; old != nil {
			all = append(all, rateOf(old, &now.Ports[i], seconds))
		}
	}
	slices.SortStableFunc(all, func(a, b rate) int { return cmp.Compare(b.rxFrames+b.txFrames, a.rxFrames+a.txFrames) })
	return all
}

func rateOf(was, is *api.PortStats, seconds float64) rate {
	return rate{
		name:     is.Name,
		rxFrames: per(seconds, was.RxFrames, is.RxFrames),
		rxBits:   8 * per(seconds, was.RxBytes, is.RxBytes),
		txFrames: per(seconds, was.Tx.Received, is.Tx.Received),
		txBits:   8 * per(seconds, was.Tx.Bytes, is.Tx.Bytes),
		drops:    per(seconds, total(was.RxDrops)+was.Tx.Dropped(), total(is.RxDrops)+is.Tx.Dropped()),
	}
}

// per is a rate; 0 where the counter began anew, as with a restarted daemon.
func per(seconds float64, was, is uint64) float64 {
	if is < was || seconds <= 0 {
		return 0
	}
	return float64(is-was) / seconds
}

func rateTable(w io.Writer, all []rate, rows int) {
	table := [][]string{{"PORT", "RX-FRAMES/s", "RX-bit/s", "TX-FRAMES/s", "TX-bit/s", "DROPPED/s"}}
	for _, r := range all[:min(rows, len(all))] {
		table = append(table, []string{r.name, number(r.rxFrames), number(r.rxBits), number(r.txFrames), number(r.txBits), number(r.drops)})
	}
	columns(w, table, false, true, true, true, true, true)
	if len(all) > rows {
		fmt.Fprintf(w, "and %d quieter ones\n", len(all)-rows)
	}
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
