package netns

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Identity is what a namespace is known by across a restart of the process
// that held it. Cookie 0 means that it was not asked for.
type Identity struct {
	Inode  uint64 `json:"inode"`
	Cookie uint64 `json:"cookie,omitempty"`
}

// Identity asks the namespace for both of its numbers.
func (n *NetNS) Identity() (Identity, error) {
	cookie, err := n.Cookie()
	return Identity{Inode: n.inode, Cookie: cookie}, err
}

// Find opens the namespace that had this identity when it was opened by spec.
// Where spec now leads elsewhere or nowhere (the process ended, the name was
// reused), it looks for the namespace among the names under /run/netns and
// the processes of the machine. It is ErrVanished if nobody has it any more.
func Find(spec string, want Identity) (*NetNS, error) {
	if path, err := resolve(spec); err == nil {
		if n := openIf(path, spec, want); n != nil {
			return n, nil
		}
	}
	for _, pattern := range []string{runDir + "/*", "/proc/[0-9]*/ns/net"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if n := openIf(path, spec, want); n != nil {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("netns %s: %w (inode %d)", spec, ErrVanished, want.Inode)
}

// openIf opens path if it is the namespace wanted, else it returns nil.
func openIf(path, spec string, want Identity) *NetNS {
	// Looking is cheaper than opening, and 10,000 processes are to be looked at.
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Ino != want.Inode {
		return nil
	}
	n, err := openPath(path, spec)
	if err != nil {
		return nil
	}
	if n.is(want) {
		return n
	}
	n.Close()
	return nil
}

func (n *NetNS) is(want Identity) bool {
	if n.inode != want.Inode || want.Cookie == 0 {
		return n.inode == want.Inode
	}
	cookie, err := n.Cookie()
	return err == nil && cookie == want.Cookie
}

// Check says whether what the namespace was opened by still leads to it: nil,
// or ErrVanished. The namespace itself lives as long as it is held, even if
// nobody else knows it any more.
func (n *NetNS) Check() error {
	if n.self {
		return nil
	}
	if path, err := resolve(n.spec); err == nil {
		if again := openIf(path, n.spec, Identity{Inode: n.inode}); again != nil {
			return again.Close()
		}
	}
	return fmt.Errorf("netns %s: %w (inode %d)", n.spec, ErrVanished, n.inode)
}
