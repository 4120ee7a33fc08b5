package undo

import (
	"errors"
	"reflect"
	"testing"
)

func recorder() (*Stack, *[]string) {
	var order []string
	s := new(Stack)
	for _, name := range []string{"a", "b", "c"} {
		s.Push(name, func() error { order = append(order, name); return nil })
	}
	return s, &order
}

func TestRunTakesBackLastFirstAndOnce(t *testing.T) {
	s, order := recorder()
	if err := errors.Join(s.Run(), s.Run()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"c", "b", "a"}; !reflect.DeepEqual(*order, want) {
		t.Errorf("order %v, want %v", *order, want)
	}
}

func TestFailingStepStopsNoOther(t *testing.T) {
	s, order := recorder()
	broken := errors.New("broken")
	s.Push("d", func() error { return broken })
	if err := s.Run(); !errors.Is(err, broken) {
		t.Errorf("error %v, want it to hold %v", err, broken)
	}
	if len(*order) != 3 {
		t.Errorf("only %v ran behind the failing step", *order)
	}
}

func TestRunOnErrorKeepsFirstError(t *testing.T) {
	first := errors.New("first")
	do := func(fail error) (s *Stack, order *[]string, err error) {
		s, order = recorder()
		defer s.RunOnError(&err)
		return s, order, fail
	}
	if _, order, err := do(first); !errors.Is(err, first) || len(*order) != 3 {
		t.Errorf("error %v, ran %v", err, *order)
	}
	if s, order, err := do(nil); err != nil || len(*order) != 0 || s.Len() != 3 {
		t.Errorf("without an error: %v, ran %v, %d armed", err, *order, s.Len())
	}
}

func TestReleaseMovesSteps(t *testing.T) {
	from, order := recorder()
	to := new(Stack)
	from.Release(to)
	if from.Len() != 0 || to.Len() != 3 || len(*order) != 0 {
		t.Fatalf("from %d, to %d, ran %v", from.Len(), to.Len(), *order)
	}
}
