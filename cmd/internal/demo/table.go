package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
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
		if err := d.tick(round, &last, &now); unwatched(err) {
			return nil
		} else if err != nil {
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

// unwatched says that a write failed because nobody is there to read: the
// terminal was closed, or the program behind the pipe has ended.
func unwatched(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EPIPE)
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

// indented puts two spaces before each line that goes through it. It takes
// everything, whether anybody reads it or not: the program that writes must not
// end because of that.
type indented struct {
	out  io.Writer
	open bool // within a line
}

func indent(out io.Writer) io.Writer { return &indented{out: out} }

// Write passes p on. It never fails.
func (w *indented) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if !w.open {
			_, _ = io.WriteString(w.out, "  ")
		}
		_, _ = w.out.Write(line)
		w.open = line[len(line)-1] != '\n'
	}
	return len(p), nil
}
