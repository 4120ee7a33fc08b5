package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
)

// bed is where one contender lies while it is measured: what package nictest
// asks of a test, in a program. What it is given to clean up is cleaned up by
// close, in reverse order, whatever happened.
//
// A method that ends a test ends the function that do runs. Everything but
// Context belongs to one goroutine at a time.
type bed struct {
	testing.TB // nil: a method that is not below must not be called

	ctx      context.Context
	name     string
	cleanups []func()
	failure  error
}

func newBed(ctx context.Context, name string) *bed { return &bed{ctx: ctx, name: name} }

// errRefused marks what a contender cannot do here, as opposed to what failed.
var errRefused = errors.New("not possible here")

// do runs fn, which may call Fatal and its like, and returns what it failed of.
func (b *bed) do(fn func()) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	<-done
	err := b.failure
	b.failure = nil
	if err == nil {
		err = b.ctx.Err()
	}
	return err
}

// close runs the clean-ups, the last one first.
func (b *bed) close() {
	for len(b.cleanups) > 0 {
		last := len(b.cleanups) - 1
		fn := b.cleanups[last]
		b.cleanups = b.cleanups[:last]
		_ = b.do(fn)
	}
}

func (b *bed) fail(err error) {
	if b.failure == nil {
		b.failure = fmt.Errorf("%s: %w", b.name, err)
	}
}

// Helper does nothing: no line numbers are printed.
func (b *bed) Helper() {}

// Name is the case's and the contender's.
func (b *bed) Name() string { return b.name }

// Context ends when the user interrupts the run.
func (b *bed) Context() context.Context { return b.ctx }

// Cleanup has fn called by close.
func (b *bed) Cleanup(fn func()) { b.cleanups = append(b.cleanups, fn) }

// Failed tells whether the running function failed.
func (b *bed) Failed() bool { return b.failure != nil }

// TempDir makes a directory that close removes.
func (b *bed) TempDir() string {
	dir, err := os.MkdirTemp("", "xdpdemux-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Log and Logf are not printed: what a rig tells of its clean-up is no result.
func (b *bed) Log(...any)          {}
func (b *bed) Logf(string, ...any) {}

// Error and Errorf let the function go on.
func (b *bed) Error(args ...any) { b.fail(toError(args)) }
func (b *bed) Errorf(format string, args ...any) {
	b.fail(fmt.Errorf(format, args...))
}

// Fatal, Fatalf and FailNow end the function that do runs.
func (b *bed) Fatal(args ...any) {
	b.Error(args...)
	runtime.Goexit()
}
func (b *bed) Fatalf(format string, args ...any) {
	b.Errorf(format, args...)
	runtime.Goexit()
}
func (b *bed) FailNow() { b.Fatal("failed") }

// Skip, Skipf and SkipNow end it because something is missing on this machine.
func (b *bed) Skip(args ...any) {
	b.Fatal(fmt.Errorf("%w: %w", errRefused, toError(args)))
}
func (b *bed) Skipf(format string, args ...any) { b.Skip(fmt.Errorf(format, args...)) }
func (b *bed) SkipNow()                         { b.Skip("skipped") }

// check ends the function if err is one.
func (b *bed) check(err error) {
	if err != nil {
		b.Fatal(err)
	}
}

func toError(args []any) error {
	if i := slices.IndexFunc(args, func(a any) bool { _, ok := a.(error); return ok }); i >= 0 && len(args) == 1 {
		return args[i].(error)
	}
	return errors.New(fmt.Sprint(args...))
}
