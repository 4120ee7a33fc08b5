package demo

import (
	"bytes"
	"context"
	"encoding/json"
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
	for round := 0; d.Endless || round < rounds; round++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		now, err := d.client.Stats(ctx, nil)
		if err != nil {
			return err
		}
		if err := d.tick(round, &last, &now); err != nil {
			return err
		}
		last = now
	}
	d.say("\neverything above went through one NIC; %d frames, %d of them unaccounted for", last.Total.Received, last.Total.Unaccounted())
	return nil
}

// tick prints the rates between two readings.
func (d *demo) tick(round int, last, now *api.Stats) error {
	rates := api.RatesBetween(last, now)
	if d.JSON {
		return json.NewEncoder(d.Out).Encode(rates)
	}
	if d.Endless && round > 0 {
		fmt.Fprintf(d.Out, "\x1b[%dA\x1b[J", tableLines(&rates))
	}
	_, err := io.WriteString(d.Out, table(&rates))
	return err
}

func tableLines(r *api.Rates) int { return len(r.Ports) + 3 }

// table is one picture of the rates.
func table(r *api.Rates) string {
	var out bytes.Buffer
	fmt.Fprintln(&out)
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "port\tin frames/s\tin Mbit/s\tout frames/s\tto wire/s\tto host/s\tlocal/s\tdropped/s\t")
	for _, p := range r.Ports {
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", p.Name, p.RxFrames, p.RxBits/1e6, p.TxFrames, p.TxWire, p.TxHost, p.TxLocal, p.Dropped)
	}
	fmt.Fprintf(w, "wire\t%.0f\t\t\t\t\t\t%.0f\t\n", r.WireFrames, r.WireDropped)
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
