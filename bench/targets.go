package main

import (
	"fmt"
	"math"
)

// target is a figure that is to be reached.
type target struct {
	what           string
	least, stretch float64 // NaN: none, the figure is just reported
	atMost         bool    // smaller is better
	format         string
	measured       func(r *results) verdict
}

// verdict is what was measured of a target.
type verdict struct {
	value, spread float64
	why           string // there is no figure
}

// figureOf is a figure of a contender in a case.
func figureOf(name, contender string, of func(sample) float64) func(r *results) verdict {
	return func(r *results) verdict {
		row, why := r.row(name, contender)
		if row == nil {
			return verdict{why: why}
		}
		return verdictOf(eachOf(row.Samples, of))
	}
}

// against is a contender's figure divided by another's of the same case, repeat
// by repeat.
func against(name, contender, other string, of func(sample) float64) func(r *results) verdict {
	return combined(name, contender, other, of, func(a, b float64) float64 { return a / b })
}

// beyond is a contender's figure less the other's.
func beyond(name, contender, other string, of func(sample) float64) func(r *results) verdict {
	return combined(name, contender, other, of, func(a, b float64) float64 { return a - b })
}

func combined(name, contender, other string, of func(sample) float64, op func(a, b float64) float64) func(r *results) verdict {
	return func(r *results) verdict {
		a, why := r.row(name, contender)
		if a == nil {
			return verdict{why: why}
		}
		b, why := r.row(name, other)
		if b == nil {
			return verdict{why: why}
		}
		return verdictOf(paired(a.Samples, b.Samples, of, op))
	}
}

// across is a contender's figure in one case divided by that in another, which
// must be of the same chunk.
func across(name, base, contender string, of func(sample) float64) func(r *results) verdict {
	return func(r *results) verdict {
		a, why := r.row(name, contender)
		if a == nil {
			return verdict{why: why}
		}
		b, why := r.row(base, contender)
		if b == nil {
			return verdict{why: why}
		}
		if a.Chunk != b.Chunk {
			return verdict{why: fmt.Sprintf("%s and %s were measured in different chunks", name, base)}
		}
		return verdictOf(paired(a.Samples, b.Samples, of, func(a, b float64) float64 { return a / b }))
	}
}

func verdictOf(values []float64) verdict {
	values = onlyKnown(values)
	if len(values) == 0 {
		return verdict{why: "was not measured"}
	}
	return verdict{value: median(values), spread: spread(values)}
}

// row finds a contender of a case that has figures; nil with the reason.
func (r *results) row(name, contender string) (*row, string) {
	for i := range r.Cases {
		row := &r.Cases[i]
		if row.Case != name || row.Contender != contender {
			continue
		}
		if why := row.why(); why != "" {
			return nil, why
		}
		return row, ""
	}
	return nil, fmt.Sprintf("%s of %s is not in this run", name, contender)
}

// judgement is a word for how far a target was reached.
func (t target) judgement(v verdict) string {
	reached := func(goal float64) bool {
		if t.atMost {
			return v.value <= goal
		}
		return v.value >= goal
	}
	switch {
	case v.why != "":
		return "n/a"
	case math.IsNaN(t.least):
		return "reported"
	case reached(t.stretch):
		return "**stretch**"
	case reached(t.least):
		return "**yes**"
	}
	return "no"
}

// targets are the rows of the table of the speed to reach.
func targets() []target {
	none := math.NaN()
	more := func(name string) func(sample) float64 { return func(s sample) float64 { return s.more(name) } }
	mpps, worker, cpu, p99 := sample.mpps, sample.workerNs, sample.cpuNs, sample.p99
	gbits := more(figureGbits)
	ns, ratio, million := "%.0f ns", "%.3f", "%.2f Mpps"
	return []target{
		{"worker ns a 64 B frame, busy breaths only, beyond the bare loop, wire → memif: 1 container", 40, 25, true, ns, beyond("wire-in/64B/1", "memif", nameBare, worker)},
		{"… 1,000 containers", 60, 45, true, ns, beyond("wire-in/64B/1000", "memif", nameBare, worker)},
		{"… 10,000 containers", 150, 90, true, ns, beyond("wire-in/64B/10000", "memif", nameBare, worker)},
		{"… in its place: memif, 4,000 containers", 150, 90, true, ns, beyond("wire-in/64B/4000", "memif", nameBare, worker)},
		{"… in its place: inproc, 10,000 containers", 150, 90, true, ns, beyond("wire-in/64B/10000", "inproc", nameBare, worker)},
		{"receive work and worker on one core, 1,000 containers, delivered / bare: busy polling", 0.75, 0.85, false, ratio, against("wire-in/64B/1000/onecore-busypoll", "memif", nameBare, mpps)},
		{"… threaded NAPI", 0.75, 0.85, false, ratio, against("wire-in/64B/1000/onecore-threaded", "memif", nameBare, mpps)},
		{"wire → memif, 1,000 containers, two cores, delivered / bare", 0.95, 0.98, false, ratio, against("wire-in/64B/1000", "memif", nameBare, mpps)},
		{"10,000 containers / 1 (inproc): contiguous addresses", 0.95, 0.98, false, ratio, across("wire-in/64B/10000", "wire-in/64B/1", "inproc", mpps)},
		{"… random addresses", 0.85, 0.92, false, ratio, across("wire-in/64B/10000/random", "wire-in/64B/1", "inproc", mpps)},
		{"delivered (memif) / testpmd af_xdp rxonly", 1.05, 1.12, false, ratio, against("wire-in/64B/1", "memif", "testpmd", mpps)},
		{"delivered (memif) / bridge + veth, 100 containers", 3.2, 3.6, false, ratio, against("wire-in/64B/100", "memif", "bridge", mpps)},
		{"delivered (tap) / bridge + veth, 100 containers", 0.9, 1.1, false, ratio, against("wire-in/64B/100", "tap", "bridge", mpps)},
		{"delivered (memif) / macvlan, 1 container", 2.0, 2.3, false, ratio, against("wire-in/64B/1", "memif", "macvlan", mpps)},
		{"memif → wire, 64 B / bare AF_XDP transmit", 0.95, 0.98, false, ratio, against("wire-out/64B/1", "memif", nameBare, mpps)},
		{"CPU-ns per delivered frame / bare loop, blocking, 0.5 Mpps: 1,000 containers", 1.15, 1.08, true, ratio, against("wire-in/64B/1000/blocking/0.5Mpps", "memif", nameBare, cpu)},
		{"… 10,000 containers", 1.3, 1.2, true, ratio, against("wire-in/64B/10000/blocking/0.5Mpps", "memif", nameBare, cpu)},
		{"… in its place: 4,000 containers", 1.3, 1.2, true, ratio, against("wire-in/64B/4000/blocking/0.5Mpps", "memif", nameBare, cpu)},
		{"switch in memory, 64 B, one core, Zipf: 16 active ports", 30, 40, false, million, figureOf("memory/64B/16/zipf", nameLanes, mpps)},
		{"… 1,000 active ports", 12, 20, false, million, figureOf("memory/64B/1000/zipf", nameLanes, mpps)},
		{"… 10,000 active ports", 7, 12, false, million, figureOf("memory/64B/10000/zipf", nameLanes, mpps)},
		{"memif ring to ring with testpmd: ours as sender / testpmd ↔ testpmd", 1.2, 1.4, false, ratio, against("ring/64B/1", "lane>testpmd", nameRing, mpps)},
		{"… ours as receiver", 0.98, 1.0, false, ratio, against("ring/64B/1", "testpmd>lane", nameRing, mpps)},
		{"memif ↔ memif through the switch, 64 B, 2 containers", 8, 15, false, million, figureOf("local/64B/2", "memif", mpps)},
		{"TCP wire → tap container / bridge + veth, 1 stream", 1.0, 1.3, false, ratio, against("tcp-in/1stream/1/blocking", "xdpdemux", "bridge", gbits)},
		{"… 32 streams", 1.0, 1.3, false, ratio, against("tcp-in/32streams/1/blocking", "xdpdemux", "bridge", gbits)},
		{"TCP tap container → wire / bridge + veth, 1 stream", 1.0, 1.3, false, ratio, against("tcp-out/1stream/1/blocking", "xdpdemux", "bridge", gbits)},
		{"… with --wire-gso", 1.0, 1.3, false, ratio, against("tcp-out/1stream/1/blocking", "wire-gso", "bridge", gbits)},
		{"… whose segments a thread of the far end receives", none, none, false, ratio, against("tcp-out/1stream/1/blocking/far-thread", "xdpdemux", "bridge", gbits)},
		{"… 32 streams", 1.0, 1.3, false, ratio, against("tcp-out/32streams/1/blocking", "xdpdemux", "bridge", gbits)},
		{"… with --wire-gso", 1.0, 1.3, false, ratio, against("tcp-out/32streams/1/blocking", "wire-gso", "bridge", gbits)},
		{"… whose segments a thread of the far end receives", none, none, false, ratio, against("tcp-out/32streams/1/blocking/far-thread", "xdpdemux", "bridge", gbits)},
		{"TCP tap ↔ tap on one host / veth pair, 1 stream", 0.6, 0.75, false, ratio, against("tcp-local/1stream/2/blocking", "xdpdemux", "veth", gbits)},
		{"… 32 streams", 0.6, 0.75, false, ratio, against("tcp-local/32streams/2/blocking", "xdpdemux", "veth", gbits)},
		{"round trip p99 wire → memif → wire / bridge + veth, at half of its rate, 1 container", 0.8, 0.5, true, ratio, against("latency/64B/1/blocking/half-bridge", "memif", "bridge", p99)},
		{"… 100 containers", 0.8, 0.5, true, ratio, against("latency/64B/100/blocking/half-bridge", "memif", "bridge", p99)},
		{"… idle, 1 container", 0.8, 0.5, true, ratio, against("latency/64B/1/blocking", "memif", "bridge", p99)},
		{"a victim's p99 beside a container with 10,000 firewall rules / alone", 2, 1.3, true, ratio, against("victim/64B/2/blocking/0.05Mpps", "beside-rules", nameAlone, p99)},
		{"… behind a bridge", none, none, true, ratio, against("victim/64B/2/blocking/0.05Mpps", "bridge-rules", "bridge-alone", p99)},
		{"the host's own TCP, attached / before: received, native", none, none, false, ratio, against("tcp-host-in/1stream/1/blocking", "native", "before", gbits)},
		{"… received, generic", none, none, false, ratio, against("tcp-host-in/1stream/1/blocking", "generic", "before", gbits)},
		{"… sent, native", none, none, false, ratio, against("tcp-host-out/1stream/1/blocking", "native", "before", gbits)},
		{"… sent, generic", none, none, false, ratio, against("tcp-host-out/1stream/1/blocking", "generic", "before", gbits)},
		{"10,000 ports added (memif)", 10, 3, true, "%.1f s", figureOf("density/ports/10000", "memif-ports", more(figureAdd))},
		{"memory per port, memif unconnected: daemon", 8, 4, true, "%.1f KiB", figureOf("density/ports/10000", "memif-ports", more(figureDaemon))},
		{"… kernel", none, none, true, "%.1f KiB", figureOf("density/ports/10000", "memif-ports", more(figureKernel))},
		{"memory per port, memif connected, client's excluded (1,000 ports): daemon", 32, 16, true, "%.1f KiB", figureOf("density/ports/1000", "memif-clients", more(figureDaemon))},
		{"memory per port, tap (1,000 ports): daemon", none, none, true, "%.1f KiB", figureOf("density/ports/1000", "tap-ports", more(figureDaemon))},
		{"… kernel", none, none, true, "%.1f KiB", figureOf("density/ports/1000", "tap-ports", more(figureKernel))},
		{"idle CPU, 10,000 ports attached", 1, 0.1, true, "%.2f%%", figureOf("density/ports/10000", "memif-ports", more(figureIdle))},
		{"frames lost by others while 1,000 ports are added", none, none, true, "%.3f%%", figureOf("churn/64B/16/blocking/0.1Mpps", "memif-adding", more(figureLost))},
		{"p99.9 with garbage collected all the time / never", none, none, true, ratio, against("latency/64B/100/blocking/half-bridge", "memif-gc", "memif", sample.p999)},
	}
}

// speed writes the table.
func (r *results) speed(p *printer) {
	p.line("\n## The speed to reach\n")
	p.line("| what | at least | stretch | measured | ± | reached |")
	p.line("|---|--:|--:|--:|--:|---|")
	for _, t := range targets() {
		v := t.measured(r)
		goal := func(g float64) string {
			if math.IsNaN(g) {
				return "–"
			}
			if t.atMost {
				return fmt.Sprintf("≤ %g", g)
			}
			return fmt.Sprintf("%g", g)
		}
		measured, wide := fmt.Sprintf(t.format, v.value), fmt.Sprintf("%.0f%%", v.spread*100)
		if !known(v.spread) { // of one value, or of a median that is zero
			wide = "–"
		}
		if v.why != "" {
			measured, wide = oneLine(v.why), ""
		}
		p.line("| %s | %s | %s | %s | %s | %s |", t.what, goal(t.least), goal(t.stretch), measured, wide, t.judgement(v))
	}
}
