package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/xdpdemux/xdpdemux/cmd/internal/api"
)

// show prints the counters' rates, once a second.
func (d *demo) show(ctx context.Context) error {
	last, err := d.client.Stats(ctx, nil)
	if err != nil {
		return err
	}
	for round := 0; d.Live || round < rounds; round++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		now, err := d.client.Stats(ctx, nil)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		if d.Live && round > 0 {
			fmt.Fprintf(d.Out, "\x1b[%dA\x1b[J", tableLines(now))
		}
		fmt.Fprint(d.Out, table(last, now))
		last = now
	}
	d.say("\neverything above went through one NIC; %d frames, %d of them unaccounted for", last.Total.Received, last.Total.Unaccounted())
	return nil
}

// ignoreEnd: the user's Ctrl-C may cut a request short.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func tableLines(s api.Stats) int { return len(s.Ports) + 3 }

// table is one picture of the rates between two readings.
func table(from, to api.Stats) string {
	seconds := max(to.Time.Sub(from.Time).Seconds(), 1e-3)
	var out bytes.Buffer
	fmt.Fprintln(&out)
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "port\tin frames/s\tin Mbit/s\tout frames/s\tto wire/s\tto host/s\tlocal/s\tdropped\t")
	for i, p := range to.Ports {
		var was api.PortStats
		if i < len(from.Ports) && from.Ports[i].Name == p.Name {
			was = from.Ports[i]
		}
		rate := func(a, b uint64) uint64 { return uint64(float64(b-a)/seconds + 0.5) }
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%d\t%d\t%d\t%d\t%d\t\n", p.Name,
			rate(was.RxFrames, p.RxFrames), float64(p.RxBytes-was.RxBytes)*8/1e6/seconds, rate(was.Tx.Received, p.Tx.Received),
			rate(was.Tx.ToWire, p.Tx.ToWire), rate(was.Tx.ToHost, p.Tx.ToHost), rate(was.Tx.Delivered, p.Tx.Delivered), p.Tx.Dropped())
	}
	fmt.Fprintf(w, "wire\t%.0f\t\t\t\t\t\t%d\t\n", float64(to.Wire.Received-from.Wire.Received)/seconds, to.Wire.Dropped())
	_ = w.Flush() // into memory
	return out.String()
}

// indented puts two spaces before each line that goes through it.
type indented struct {
	out  io.Writer
	open bool // within a line
}

func indent(out io.Writer) io.Writer { return &indented{out: out} }

// Write passes p on.
func (w *indented) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !w.open {
			if _, err := io.WriteString(w.out, "  "); err != nil {
				return 0, err
			}
		}
		if _, err := w.out.Write(line); err != nil {
			return 0, err
		}
		w.open = line[len(line)-1] != '\n'
	}
	return len(p), nil
}
