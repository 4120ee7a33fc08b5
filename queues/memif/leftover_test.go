package memif

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRemoveDirectory: what a process left that died goes, what a client left
// stays, and no link is followed.
func TestRemoveDirectory(t *testing.T) {
	base := t.TempDir()
	must := func(errs ...error) {
		t.Helper()
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	dir, elsewhere := filepath.Join(base, "port"), filepath.Join(base, "elsewhere")
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	write := func(path string) error { return os.WriteFile(path, nil, 0o600) }
	must(RemoveDirectory(dir), os.MkdirAll(elsewhere, 0o700), write(filepath.Join(elsewhere, temporaryName)))

	must(os.MkdirAll(at(privatePrefix+"1"), 0o700), write(at(privatePrefix+"1", temporaryName)), write(at(SocketName)))
	must(RemoveDirectory(dir))
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}

	must(os.MkdirAll(dir, 0o700), os.Symlink(elsewhere, at(privatePrefix+"2")), os.Symlink(elsewhere, at(SocketName)), write(at("client's")))
	must(RemoveDirectory(dir))
	if left, err := filepath.Glob(at("*")); err != nil || len(left) != 2 { // the client's file, and the link that names no directory
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Lstat(filepath.Join(elsewhere, temporaryName)); err != nil {
		t.Errorf("a link was followed: %v", err)
	}

	must(os.RemoveAll(dir), os.Symlink(elsewhere, dir))
	if err := RemoveDirectory(dir); err == nil {
		t.Error("a link was taken for the directory")
	}
}
