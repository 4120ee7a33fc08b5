// Package undo holds the steps that take back what was done, so that a failure
// half way leaves nothing behind.
package undo

import (
	"errors"
	"fmt"
)

// Stack is what would have to be taken back now. The zero value is empty and
// ready. It is not safe for concurrent use.
type Stack struct {
	steps []step
}

type step struct {
	what string
	back func() error
}

// Push arms one step: back takes back what what names. Push it before, or at
// once after, the thing is done, never later.
func (s *Stack) Push(what string, back func() error) {
	s.steps = append(s.steps, step{what, back})
}

// Run takes everything back, last first, and leaves the stack empty. A step
// that fails does not stop the others; the errors come back joined.
func (s *Stack) Run() error {
	var errs []error
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].back(); err != nil {
			errs = append(errs, fmt.Errorf("undoing %s: %w", s.steps[i].what, err))
		}
	}
	s.steps = nil
	return errors.Join(errs...)
}

// RunOnError is for a deferred call with a named result: where *err is set,
// everything is taken back and what could not be is joined to it.
func (s *Stack) RunOnError(err *error) {
	if *err != nil {
		*err = errors.Join(*err, s.Run())
	}
}

// Release disarms the stack and hands its steps to to, under which they stay
// in order behind what was armed there before.
func (s *Stack) Release(to *Stack) {
	to.steps = append(to.steps, s.steps...)
	s.steps = nil
}

// Len is the number of armed steps.
func (s *Stack) Len() int { return len(s.steps) }
