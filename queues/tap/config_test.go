package tap

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := testConfig(nil)
	for _, c := range []struct {
		change func(*Config)
		says   string // empty: fine
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Addrs = prefixes("10.0.0.1/8", "2001:db8::1/64") }, ""},
		{func(c *Config) { c.MTU = MinMTU }, ""},
		{func(c *Config) { c.MTU = MaxMTU; c.Depth = MaxDepth; c.Lanes = MaxLanes }, ""},
		{func(c *Config) { c.Gateways = addrs("10.0.0.1", "fe80::1") }, ""},
		{func(c *Config) { c.Owner = "" }, "owner"},
		{func(c *Config) { c.Owner = strings.Repeat("x", 256) }, "owner"},
		{func(c *Config) { c.MAC = [6]byte{} }, "unicast"},
		{func(c *Config) { c.MAC[0] = 1 }, "unicast"},
		{func(c *Config) { c.MTU = MinMTU - 1 }, "MTU 67"},
		{func(c *Config) { c.MTU = MaxMTU + 1 }, "MTU 65522"},
		{func(c *Config) { c.MTU = 1279; c.Addrs = prefixes("2001:db8::1/64") }, "IPv6"},
		{func(c *Config) { c.MTU = 1279; c.LinkLocal = netip.MustParseAddr("fe80::1") }, "IPv6"},
		{func(c *Config) { c.Lanes = -1 }, "lanes"},
		{func(c *Config) { c.Depth = -1 }, "depth"},
		{func(c *Config) { c.Depth = MaxDepth + 1 }, "depth"},
		{func(c *Config) { c.LinkLocal = netip.MustParseAddr("2001:db8::1") }, "link-local"},
		{func(c *Config) { c.LinkLocal = netip.MustParseAddr("169.254.0.1") }, "link-local"},
		{func(c *Config) { c.LinkLocal = netip.MustParseAddr("fe80::1%eth0") }, "link-local"},
		{func(c *Config) { c.Addrs = []netip.Prefix{{}} }, "no address"},
		{func(c *Config) { c.Addrs = prefixes("224.0.0.1/24") }, "no address"},
		{func(c *Config) { c.Addrs = prefixes("0.0.0.0/0") }, "no address"},
		{func(c *Config) { c.Addrs = prefixes("ff02::1/128") }, "no address"},
		{func(c *Config) { c.Addrs = prefixes("::ffff:10.0.0.1/128") }, "no address"},
		{func(c *Config) { c.Addrs = prefixes("10.0.0.1/24", "10.0.0.1/16") }, "twice"},
		{func(c *Config) {
			c.Addrs = prefixes("fe80::1/64")
			c.LinkLocal = netip.MustParseAddr("fe80::1")
		}, "twice"},
		{func(c *Config) { c.Gateways = addrs("10.0.0.1", "10.0.0.2") }, "more than one"},
		{func(c *Config) { c.Gateways = addrs("ff02::1") }, "gateway"},
		{func(c *Config) { c.Gateways = []netip.Addr{{}} }, "gateway"},
	} {
		cfg := good.clone()
		c.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", cfg, err, c.says)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"eth0": true, "123456789012345": true, "-": true, "é0": true, "a.b": true,
		"": false, ".": false, "..": false, "1234567890123456": false, "a/b": false,
		"a:b": false, "a b": false, "eth%d": false, "a\tb": false, "a\x00": false, "\xa0x": false, "à": false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}
