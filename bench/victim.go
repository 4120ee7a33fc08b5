package main

import (
	"fmt"
	"strings"
)

// victim is the direction of the cases that measure the round trips of one
// container beside another, which gets all the load.
const victim = "victim"

// firewallRules is how many rules each frame to the neighbour passes.
const firewallRules = 10000

// victimProbes-th frames are probes: the load beside them is so much larger.
const victimProbes = 16

const nameAlone = "alone"

func victimContenders() []contender {
	return []contender{
		{name: nameAlone, about: "a TAP container of the daemon, which may use both processors, its neighbour idle", open: openVictim(openDaemonTaps(), false, false)},
		{name: "beside", about: "the same, while its neighbour gets the load", open: openVictim(openDaemonTaps(), true, false)},
		{name: "beside-rules", about: "the same, and the neighbour has 10,000 firewall rules", open: openVictim(openDaemonTaps(), true, true)},
		{name: "bridge-alone", about: "a container behind a bridge, its neighbour idle", open: openVictim(openBridge, false, false)},
		{name: "bridge-rules", about: "the same, while its neighbour gets the load and has 10,000 firewall rules", open: openVictim(openBridge, true, true)},
	}
}

// openVictim has container 0 send the probes back; beside says whether container 1
// gets anything.
func openVictim(open func(b *bed, c *testCase) *stage, beside, rules bool) func(b *bed, c *testCase) *stage {
	return func(b *bed, c *testCase) *stage {
		alone := *c
		alone.alone = !beside
		s := open(b, &alone)
		if !beside {
			s.mpps = c.Mpps / victimProbes
		}
		if rules {
			addRules(b, s)
		}
		return s
	}
}

// addRules gives container 1 a firewall of which no rule matches.
func addRules(b *bed, s *stage) {
	var text strings.Builder
	text.WriteString("table ip wall {\n chain in {\n type filter hook input priority 0;\n")
	for i := range firewallRules {
		fmt.Fprintf(&text, "udp dport %d drop\n", 20000+i)
	}
	text.WriteString("}\n}\n")
	cmd := s.rig.Containers[1].Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("nft: %v: %s", err, out)
	}
}
