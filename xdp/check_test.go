package xdp

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A kernel on which the sockets work passes the checks.
func TestChecksPassWhereSocketsWork(t *testing.T) {
	needRoot(t)
	if err := errors.Join(CheckKernel(), CheckProgram()); err != nil {
		t.Error(err)
	}
}

func TestChainsError(t *testing.T) {
	var lacks *UnsupportedError
	if err := chainsError(unix.EINVAL); !errors.As(err, &lacks) || lacks.Min != "6.6" {
		t.Errorf("a kernel that does not know the flag: %v", err)
	}
	for _, err := range []error{unix.ENODEV, unix.EPERM, nil} {
		if got := chainsError(err); got != nil {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestCheckFree(t *testing.T) {
	r := newRig(t, rigConfig{})
	if err := CheckFree(r.index); err != nil {
		t.Fatal(err)
	}
	r.program(ModeGeneric)
	var foreign *ForeignProgramError
	if err := CheckFree(r.index); !errors.As(err, &foreign) || foreign.Name != "steer" {
		t.Errorf("%v", err)
	}
}
