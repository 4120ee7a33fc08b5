package shm

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func create(t *testing.T, size uint64) *Region {
	t.Helper()
	r, err := CreateRegion("test", size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestBothSidesSeeARegion(t *testing.T) {
	ours := create(t, 5000) // no multiple of a page
	theirs, err := MapRegion(ours.FD(), 5000, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours.Data()) != 5000 || len(theirs.Data()) != 5000 || theirs.FD() != -1 {
		t.Fatalf("%d and %d bytes, descriptor %d", len(ours.Data()), len(theirs.Data()), theirs.FD())
	}
	if err := ours.CloseFD(); err != nil || ours.FD() != -1 {
		t.Fatalf("descriptor %d, %v", ours.FD(), err)
	}
	ours.Data()[4999] = 42
	if theirs.Data()[4999] != 42 {
		t.Error("what one side wrote the other does not see")
	}
	for range 2 {
		if err := errors.Join(theirs.Close(), ours.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if ours.Data() != nil || theirs.Data() != nil {
		t.Error("a closed region has data")
	}
}

func TestRegionCannotShrink(t *testing.T) {
	r := create(t, 8192)
	if err := unix.Ftruncate(r.FD(), 4096); !errors.Is(err, unix.EPERM) {
		t.Errorf("truncating it: %v", err)
	}
}

func TestMapRegionChecks(t *testing.T) {
	sealed := create(t, 4096).FD()
	loose, err := unix.MemfdCreate("loose", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(loose)
	if err := unix.Ftruncate(loose, 4096); err != nil {
		t.Fatal(err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	null, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, c := range []struct {
		name          string
		fd            int
		size          uint64
		allowUnsealed bool
		want          error
	}{
		{"one byte too long", sealed, 4097, false, ErrTooShort},
		{"far too long", sealed, 1 << 62, false, ErrTooShort},
		{"unsealed and too long", loose, 4097, true, ErrTooShort},
		{"unsealed", loose, 4096, false, ErrUnsealed},
		{"unsealed and allowed", loose, 4096, true, nil},
		{"a part of it", sealed, 100, false, nil},
		{"an eventfd", event, 4096, true, ErrNotMemory},
		{"a device", int(null.Fd()), 4096, true, ErrNotMemory},
		{"no descriptor", -1, 4096, true, ErrNotMemory},
	} {
		r, err := MapRegion(c.fd, c.size, c.allowUnsealed)
		if !errors.Is(err, c.want) || (r == nil) == (err == nil) {
			t.Errorf("%s: region %v, error %v, want %v", c.name, r, err, c.want)
		}
		if r != nil {
			_ = r.Close()
		}
	}
}

func TestRegionSizes(t *testing.T) {
	for _, size := range []uint64{0, 1 << 63, ^uint64(0)} {
		if _, err := CreateRegion("test", size); err == nil {
			t.Errorf("a region of %d bytes was made", size)
		}
		if _, err := MapRegion(create(t, 4096).FD(), size, true); err == nil {
			t.Errorf("a region of %d bytes was mapped", size)
		}
	}
}
