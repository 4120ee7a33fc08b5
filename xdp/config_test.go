package xdp

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSocketConfigDefaults(t *testing.T) {
	c, err := SocketConfig{IfIndex: 1, BusyPoll: BusyPoll{Micros: 20}}.Validate()
	want := SocketConfig{IfIndex: 1, Frames: 4096, FrameSize: 2048, RxSize: 2048, TxSize: 2048,
		FillSize: 2048, CompletionSize: 2048, BusyPoll: BusyPoll{Micros: 20, Budget: 64}, Patience: defaultPatience}
	if err != nil || c != want {
		t.Errorf("%+v, %v, want %+v", c, err, want)
	}
	again, err := c.Validate()
	if err != nil || again != c {
		t.Errorf("validated twice: %+v, %v", again, err)
	}
	if got := c.geometry().config(1, 0); got.geometry() != c.geometry() {
		t.Errorf("geometry and back: %+v", got)
	}
}

func TestSocketConfigsThatAreRefused(t *testing.T) {
	cases := map[string]SocketConfig{
		"Frames is 1000":         {Frames: 1000},
		"Frames is 64":           {Frames: 64},
		"Frames is -4096":        {Frames: -4096},
		"Frames is 1048576":      {Frames: 1 << 20},
		"FrameSize is 1024":      {FrameSize: 1024},
		"FrameSize is 3000":      {FrameSize: 3000},
		"FrameSize is 8192":      {FrameSize: 8192},
		"RxSize is 100":          {RxSize: 100},
		"RxSize is 32":           {RxSize: 32},
		"TxSize is 131072":       {TxSize: 1 << 17},
		"FillSize is 3":          {FillSize: 3},
		"choose FillSize 2048":   {FillSize: 1024},
		"CompletionSize is 2047": {CompletionSize: 2047},
		"or Frames 2048":         {CompletionSize: 1024},
		"Queue is -1":            {Queue: -1},
		"choose off, auto or on": {ZeroCopy: 7},
		"BusyPoll of -1 us":      {BusyPoll: BusyPoll{Micros: -1}},
		"Patience is -1s":        {Patience: -time.Second},
		"budgets from 0":         {BusyPoll: BusyPoll{Micros: 1, Budget: 1 << 20}},
	}
	for want, c := range cases {
		c.IfIndex = 1
		_, err := c.Validate()
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v, want one line with %q", c, err, want)
		}
		if s, open := OpenSocket(c); s != nil || open == nil || open.Error() != err.Error() {
			t.Errorf("OpenSocket says %v", open)
		}
	}
	if _, err := (SocketConfig{}).Validate(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "IfIndex is 0") {
		t.Errorf("without a device: %v", err)
	}
}

func TestReleaseOlder(t *testing.T) {
	cases := []struct {
		release string
		want    bool
	}{
		{"6.6.0", false}, {"6.18.44-fc-v657", false}, {"7.0-rc1", false},
		{"6.5.13-arch", true}, {"5.18", true}, {"4.19.0-26-amd64", true},
		{"", false}, {"unreadable", false},
	}
	for _, c := range cases {
		if got := releaseOlder(c.release, 6, 6); got != c.want {
			t.Errorf("%q is older than 6.6: %v", c.release, got)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	cases := map[string]error{
		"run Linux 6.6 or later":   &UnsupportedError{Feature: "AF_XDP", Min: "6.6", Err: unix.EINVAL},
		"program firewall (id 17,": &ForeignProgramError{IfIndex: 3, ID: 17, Name: "firewall", Tag: "abcd"},
		"program without a name":   &ForeignProgramError{IfIndex: 3, ID: 17},
		"choose auto or off":       &ZeroCopyError{IfIndex: 3, Err: unix.EOPNOTSUPP},
		"9000: choose a smaller":   &ZeroCopyError{IfIndex: 3, MTU: 9000, Err: unix.EOPNOTSUPP},
		"one; two":                 oneLine(nil, errors.New("one"), nil, errors.New("two")),
		"CAP_NET_RAW":              socketError(unix.EPERM),
		"CONFIG_XDP_SOCKETS":       socketError(unix.EAFNOSUPPORT),
		"RLIMIT_MEMLOCK":           umemError(unix.ENOBUFS, 1<<20),
		"CAP_BPF":                  loadError(unix.EPERM),
	}
	for want, err := range cases {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not contain %q", err, want)
		}
	}
	if oneLine(nil, nil) != nil {
		t.Error("no errors are an error")
	}
	if !errors.Is(&UnsupportedError{Err: unix.EINVAL}, unix.EINVAL) || !errors.Is(&ZeroCopyError{Err: unix.EBUSY}, unix.EBUSY) {
		t.Error("the kernel's answer is not in the error")
	}
}

func TestModesAndZeroCopyAreWords(t *testing.T) {
	for want, v := range map[string]interface{ String() string }{
		"auto": ModeAuto, "native": ModeNative, "generic": ModeGeneric, "Mode(9)": Mode(9),
		"off": ZeroCopyOff, "on": ZeroCopyOn, "ZeroCopy(9)": ZeroCopy(9),
	} {
		if v.String() != want {
			t.Errorf("%v, want %s", v, want)
		}
	}
}

// TestZeroCopyLeavesTheHostChunks: however a socket is configured, a full receive
// ring holds at most half of what receives, and the configuration stays valid.
func TestZeroCopyLeavesTheHostChunks(t *testing.T) {
	for _, c := range []SocketConfig{
		{}, {Frames: minFrames}, {Frames: 256}, {Frames: maxFrames}, {Frames: minFrames, RxSize: maxRing}, {Frames: 1024, RxSize: 64}, {FillSize: maxRing},
	} {
		c.IfIndex = 1
		valid, err := c.Validate()
		if err != nil {
			t.Fatal(err)
		}
		z := valid.forZeroCopy()
		if again, err := z.Validate(); err != nil || again != z {
			t.Errorf("%+v becomes %+v, and that %+v, %v", c, z, again, err)
		}
		if z.Frames < valid.Frames || z.RxSize > z.Frames/4 || c.RxSize == 64 && z.RxSize != 64 {
			t.Errorf("%+v becomes %+v", c, z)
		}
	}
}
