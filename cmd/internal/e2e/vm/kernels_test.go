//go:build vm

package vm

import (
	"cmp"
	"os"
	"runtime"
	"testing"

	"github.com/xdpdemux/xdpdemux/nic/nictest"
)

// TestKernels runs the tests that are for a kernel whose virtio NIC does
// zero-copy, and those for one whose does not; or those that match
// XDPDEMUX_TEST_VM_RUN. With XDPDEMUX_TEST_VM_LOG=1 the guest is heard at once.
func TestKernels(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the guests are amd64, and run programs of this machine")
	}
	nictest.Require(t, "apt-get", "dpkg-deb", "qemu-system-x86_64", "cpio", "ldd")
	nictest.Require(t, programs...)
	for _, k := range []struct{ suite, tests string }{
		{"testing", "^TestZeroCopy"},
		{"bookworm-backports", "^TestNoZeroCopy"},
	} {
		t.Run(k.suite, func(t *testing.T) {
			root := openArchive(t, k.suite).fetchKernel(t)
			newGuest(t, root).run(t, find(t, root, `/vmlinuz[^/]*$`), cmp.Or(os.Getenv("XDPDEMUX_TEST_VM_RUN"), k.tests))
		})
	}
}
