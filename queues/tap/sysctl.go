package tap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/xdpdemux/xdpdemux/queues/netns"
)

// setting is one file below /proc/sys/net, %s being the interface.
type setting struct{ path, value, why string }

// sysctls are set before the interface is up, each because the daemon, not the
// kernel or the wire, decides what addresses and routes there are.
var sysctls = [...]setting{
	{"ipv6/conf/%s/addr_gen_mode", "1", "no link-local address of the kernel's own"},
	{"ipv6/conf/%s/accept_ra", "0", "no addresses and routes from router advertisements"},
	{"ipv6/conf/%s/router_solicitations", "0", "no router solicitations"},
	{"ipv6/conf/%s/keep_addr_on_down", "1", "IPv6 addresses outlive a link that goes down, as IPv4 ones do"},
	{"ipv4/conf/%s/promote_secondaries", "1", "deleting one address leaves its neighbours of the subnet"},
}

// setSysctls writes them. Where IPv6 is wanted it is enabled on the interface;
// where it is not, the kernel need not have it at all.
func setSysctls(ns *netns.NetNS, name string, v6 bool) error {
	return inside(ns, func() error {
		if v6 {
			if err := writeSysctl(setting{"ipv6/conf/%s/disable_ipv6", "0", "IPv6"}, name); err != nil {
				return fmt.Errorf("netns %s: enable IPv6 on %s: %w", nsName(ns), name, err)
			}
		}
		for _, s := range sysctls {
			err := writeSysctl(s, name)
			if err != nil && (v6 || !errors.Is(err, fs.ErrNotExist)) {
				return fmt.Errorf("netns %s: %w", nsName(ns), err)
			}
		}
		return nil
	})
}

func writeSysctl(s setting, name string) error {
	path := filepath.Join("/proc/sys/net", fmt.Sprintf(s.path, name))
	if have, err := os.ReadFile(path); err == nil && string(have) == s.value+"\n" {
		return nil // nothing to do, even where /proc/sys is read-only
	}
	return os.WriteFile(path, []byte(s.value), 0)
}
