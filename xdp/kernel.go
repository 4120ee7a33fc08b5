package xdp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kernelOlder says whether the running kernel is older than major.minor. An
// unreadable release counts as new, so that nobody is turned away by mistake.
func kernelOlder(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	return releaseOlder(unix.ByteSliceToString(name.Release[:]), major, minor)
}

func releaseOlder(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a < major || a == major && b < minor
}
