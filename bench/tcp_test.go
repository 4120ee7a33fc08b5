package main

import (
	"strings"
	"testing"
)

func TestParseIPerf(t *testing.T) {
	const good = `{"start": {}, "end": {"sum_sent": {"bytes": 9, "retransmits": 7},
		"sum_received": {"bytes": 2.5e8, "seconds": 1.0, "bits_per_second": 2e9}}}`
	r, err := parseIPerf([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if s := r.sample(); s.more(figureGbits) != 2 || s.more(figureAgain) != 7 || s.Seconds != 1 {
		t.Errorf("it says %+v", s)
	}
	for _, c := range []struct{ text, want string }{
		{`{"error": "unable to connect"}`, "unable to connect"},
		{`{"end": {}}`, "nothing was received"},
		{"", "its report"},
	} {
		if _, err := parseIPerf([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q gives %v, want %q", c.text, err, c.want)
		}
	}
}

func TestStreamsOfACase(t *testing.T) {
	for size, want := range map[string]int{"1stream": 1, "32streams": 32} {
		if got := (&testCase{Direction: tcpIn, Size: size}).streams(); got != want {
			t.Errorf("%s is %d streams, want %d", size, got, want)
		}
	}
}
