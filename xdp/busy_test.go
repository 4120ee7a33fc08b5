package xdp

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeBind is a queue that is taken for a while, and the time that is spent
// waiting for it.
type fakeBind struct {
	free   time.Duration // from when on it is free
	spent  time.Duration
	living []Holder
	looks  int
}

func (f *fakeBind) binder(patience time.Duration) binder {
	return binder{
		bind: func() error {
			if f.spent < f.free {
				return unix.EBUSY
			}
			return nil
		},
		holders:  func() []Holder { f.looks++; return f.living },
		sleep:    func(d time.Duration) { f.spent += d },
		patience: patience,
	}
}

// A queue whose last owner died a moment ago is waited for; one that a living
// process holds is soon given up, and one that nobody gives up not for ever.
func TestBinderPatience(t *testing.T) {
	held := []Holder{{PID: 7, Name: "other"}}
	for name, c := range map[string]struct {
		free     time.Duration
		living   []Holder
		got      bool
		suspects []Holder
		most     time.Duration
	}{
		"free":                   {0, held, true, nil, 0},
		"of a dead process":      {3 * time.Second, nil, true, nil, 3*time.Second + bindPause},
		"of a process that ends": {heldPatience / 2, held, true, nil, heldPatience},
		"of a living process":    {time.Hour, held, false, held, heldPatience},
		"of nobody":              {time.Hour, nil, false, nil, defaultPatience},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeBind{free: c.free, living: c.living}
			suspects, err := f.binder(defaultPatience).take()
			if (err == nil) != c.got || err != nil && !errors.Is(err, unix.EBUSY) || !slices.Equal(suspects, c.suspects) {
				t.Errorf("%v, %v", suspects, err)
			}
			if f.spent > c.most || f.looks > 1 {
				t.Errorf("it took %v of %v and %d looks", f.spent, c.most, f.looks)
			}
		})
	}
}

// Another error is none to wait out.
func TestBinderOtherErrors(t *testing.T) {
	f := &fakeBind{}
	b := f.binder(time.Second)
	b.bind = func() error { return unix.ENODEV }
	if _, err := b.take(); !errors.Is(err, unix.ENODEV) || f.spent != 0 || f.looks != 0 {
		t.Errorf("%v after %v", err, f.spent)
	}
}

// The process that holds a queue is named.
func TestBusyQueueNamesItsHolder(t *testing.T) {
	r := newRig(t, rigConfig{})
	s := r.socket(nil, SocketConfig{Frames: 256})
	h, err := s.Handover()
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	for _, fd := range []int{h.Socket, h.Memory} {
		copied, err := unix.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, os.NewFile(uintptr(copied), "handover"))
	}
	c := startChild(t, childEcho, files...)
	defer c.kill(t)
	s.Close()
	for _, f := range files {
		f.Close()
	}
	isChild := func(h Holder) bool { return h.PID == c.cmd.Process.Pid }
	eventually(t, "the child to map its rings", func() bool { return slices.ContainsFunc(holders(), isChild) })
	_, err = OpenSocket(SocketConfig{IfIndex: r.index, Frames: 256})
	var busy *BusyError
	if !errors.As(err, &busy) || !errors.Is(err, unix.EBUSY) || !slices.ContainsFunc(busy.Holders, isChild) {
		t.Fatalf("%v", err)
	}
	if want := fmt.Sprintf("process %d (", c.cmd.Process.Pid); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "end its program") {
		t.Errorf("%q has no %q", err, want)
	}
}

func TestIsFillRing(t *testing.T) {
	for line, want := range map[string]bool{
		"7f12c0000000-7f12c0002000 rw-s 100000000 00:09 4711 socket:[4711]": true,
		"7f12c0000000-7f12c0002000 rw-s 180000000 00:09 4711 socket:[4711]": false, // the completion ring
		"7f12c0000000-7f12c0002000 rw-s 00000000 00:09 4711 socket:[4711]":  false, // a packet ring
		"7f12c0000000-7f12c0002000 rw-s 100000000 08:01 4711 /var/lib/data": false,
		"7f12c0000000-7f12c0002000 rw-p 00000000 00:00 0 ":                  false,
		"": false,
	} {
		if isFillRing(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}
