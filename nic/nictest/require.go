package nictest

import (
	"os"
	"os/exec"
	"testing"
)

// RequireRoot skips the test when it may not make network namespaces: it needs
// to be root (CAP_SYS_ADMIN and CAP_NET_ADMIN).
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) to make network namespaces: run with sudo")
	}
}

// Require skips the test when one of the programs is missing and names the
// Debian package that has it; in CI that is a failure, see Missing.
func Require(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Missing(t, "the program "+p+": apt-get install "+debianPackage(p))
		}
	}
}

// Missing ends a test that needs something that this machine lacks, such as a
// program or a kernel feature, and what says what that is. The test is skipped;
// with CI=true in the environment, as .ci/run sets it, it fails instead, for the
// machine of CI has all that is needed and must never pass by skipping.
func Missing(t testing.TB, what string) {
	t.Helper()
	report := t.Skipf
	if os.Getenv("CI") == "true" {
		report = t.Fatalf
	}
	report("needs %s", what)
}

// debianPackage is the package of Debian 12 that holds a program.
func debianPackage(program string) string {
	switch program {
	case "ip", "bridge", "tc", "ss", "nstat":
		return "iproute2"
	case "nsenter", "unshare":
		return "util-linux"
	case "sysctl":
		return "procps"
	case "ping":
		return "iputils-ping"
	case "nft":
		return "nftables"
	case "ndisc6", "rdisc6":
		return "ndisc6"
	case "trafgen", "mausezahn":
		return "netsniff-ng"
	case "nc":
		return "netcat-openbsd"
	case "python3":
		return "python3-minimal"
	case "dnsmasq":
		return "dnsmasq-base"
	case "dhclient":
		return "isc-dhcp-client"
	}
	return program
}
