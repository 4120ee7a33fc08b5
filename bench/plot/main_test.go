package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const example = `{"host":{},"cases":[
 {"case":"wire-in/64B/1","contender":"bare","direction":"wire-in","size":"64B","containers":1,"mpps":1.6,"worker_ns_beyond_limit":0},
 {"case":"wire-in/64B/1","contender":"memif","direction":"wire-in","size":"64B","containers":1,"mpps":1.5,"worker_ns_beyond_limit":40},
 {"case":"wire-in/64B/1000","contender":"memif","direction":"wire-in","size":"64B","containers":1000,"mpps":1.4,"worker_ns_beyond_limit":60},
 {"case":"wire-in/64B/1000/zipf","contender":"other","direction":"wire-in","size":"64B","containers":1000,"mpps":9},
 {"case":"tcp-in/1stream/1/blocking","contender":"bridge","direction":"tcp-in","size":"1stream","containers":1,"more":{"Gbit/s":9.5}},
 {"case":"tcp-host-in/1stream/1/blocking","contender":"generic","direction":"tcp-host-in","size":"1stream","containers":1,"more":{"retransmits":3}},
 {"case":"latency/64B/1/blocking","contender":"bridge","direction":"latency","size":"64B","containers":1,"mpps":null,"p99_us":null}]}`

// TestPlotsWhatThereIs: a chart for what was measured, with the contenders of
// those cases and of no others, and none where there is no figure.
func TestPlotsWhatThereIs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "r.json")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := plot(file, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rate.svg", "worker.svg"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := xml.Unmarshal(text, new(struct{})); err != nil {
			t.Errorf("%s is no XML: %v", name, err)
		}
		svg := string(text)
		if !strings.Contains(svg, "memif") || !strings.Contains(svg, "1000") || strings.Contains(svg, "other") {
			t.Errorf("%s: %s", name, svg)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "tcp.svg")); err != nil || !strings.Contains(string(text), "tcp-in/1stream/1") || strings.Contains(string(text), "generic") {
		t.Errorf("tcp.svg: %v %s", err, text)
	}
	for _, name := range []string{"cpu.svg", "latency.svg", "out.svg", "host.svg", "density.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s was drawn of nothing", name)
		}
	}
	if err := plot(file+"x", dir); err == nil {
		t.Error("no file is no error")
	}
}
