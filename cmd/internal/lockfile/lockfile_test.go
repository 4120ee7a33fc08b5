package lockfile

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

func TestOnlyOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Acquire(path)
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.Holder != strconv.Itoa(os.Getpid()) || held.Path != path {
		t.Fatalf("the second one got %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	again, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Release(); err != nil {
		t.Fatal(err)
	}
}

// A dead holder leaves the file behind, but not the lock.
func TestStaleFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(path, []byte("1234567890\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lock, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	if data, _ := os.ReadFile(path); string(data) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("the file says %q", data)
	}
}

func TestSweptDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lock, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestNoDirectory(t *testing.T) {
	if _, err := Acquire(filepath.Join(t.TempDir(), "no", "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// What AcquireIn makes, Release takes away, and nothing else.
func TestAcquireInLeavesNothing(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "a", "b")
	lock, err := AcquireIn(dir, "lock", 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v, %v", info, err)
	}
	if _, err := AcquireIn(dir, "lock", 0o700); err == nil {
		t.Fatal("two hold it")
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(base, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory is left: %v", err)
	}
	if _, err := os.Stat(base); err != nil {
		t.Errorf("a directory that was there is gone: %v", err)
	}
}

// A directory that somebody put something into stays, and is no error.
func TestAcquireInKeepsWhatIsUsed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	lock, err := AcquireIn(dir, "lock", 0o700)
	if err != nil {
		t.Fatal(err)
	}
	other, err := AcquireIn(dir, "other", 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if err := other.Release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("one removed what another had made: %v", err)
	}
}

// A lock that cannot be had leaves no directory either.
func TestAcquireInThatFails(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AcquireIn(filepath.Join(file, "a"), "lock", 0o700); err == nil {
		t.Error("a lock below a file")
	}
	if _, err := AcquireIn(filepath.Join(base, "a", "b"), "no/lock", 0o700); err == nil {
		t.Error("a lock in a directory that is not there")
	}
	if entries, _ := os.ReadDir(base); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}

// While one holder removes the directory another finds or makes it.
func TestAcquireInRaces(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				lock, err := AcquireIn(dir, "lock"+strconv.Itoa(i), 0o700)
				if err != nil {
					t.Error(err)
					return
				}
				if err := lock.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// A lock on a file that is not at its path any more keeps nobody out.
func TestRemovedUnderUs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for name, remove := range map[string]func() error{
		"removed":  func() error { return os.Remove(path) },
		"replaced": func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		if current, err := settle(f, path); current || err != nil {
			t.Errorf("%s: %v, %v", name, current, err)
		}
	}
}

// Whoever comes while the file is being removed must not get a lock on a file
// that is not there any more.
func TestNeverTwoHolders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var holders, won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				lock, err := Acquire(path)
				if err != nil {
					continue
				}
				won.Add(1)
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d holders at once", n)
				}
				holders.Add(-1)
				if err := lock.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if won.Load() == 0 {
		t.Error("nobody ever got the lock")
	}
}

func TestErrorText(t *testing.T) {
	for want, err := range map[string]error{
		"/x is locked by process 7":       &HeldError{Path: "/x", Holder: "7"},
		"/x is locked by another process": &HeldError{Path: "/x"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
}
