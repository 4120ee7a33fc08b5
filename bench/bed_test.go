package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestBedCleansUpInReverseWhateverHappens(t *testing.T) {
	b := newBed(context.Background(), "case")
	var order []int
	reached := false
	err := b.do(func() {
		b.Cleanup(func() { order = append(order, 1) })
		b.Cleanup(func() { order = append(order, 2); b.Fatal("also in a clean-up") })
		b.Fatalf("no %s", "luck")
		reached = true
	})
	if err == nil || err.Error() != "case: no luck" || reached {
		t.Errorf("error %v, went on: %v", err, reached)
	}
	b.close()
	b.close()
	if len(order) != 2 || order[0] != 2 || order[1] != 1 {
		t.Errorf("cleaned up in the order %v", order)
	}
}

func TestBedTellsRefusalFromFailure(t *testing.T) {
	b := newBed(context.Background(), "case")
	if err := b.do(func() { b.Skipf("needs %s", "more") }); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "needs more") {
		t.Errorf("a skip is %v", err)
	}
	if err := b.do(func() { b.check(os.ErrExist) }); !errors.Is(err, os.ErrExist) || errors.Is(err, errRefused) {
		t.Errorf("a failure is %v", err)
	}
	if err := b.do(func() { b.Errorf("first"); b.Errorf("second") }); err == nil || err.Error() != "case: first" {
		t.Errorf("two errors are %v", err)
	}
	if err := b.do(func() {}); err != nil {
		t.Errorf("nothing is %v", err)
	}
}

func TestBedEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := newBed(ctx, "case")
	cancel()
	if err := b.do(func() {}); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted bed says %v", err)
	}
	dir := ""
	_ = b.do(func() { dir = b.TempDir() })
	b.close()
	if _, err := os.Stat(dir); dir == "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %q: %v", dir, err)
	}
}
