package main

import "slices"

// everybody is all who can take frames from the wire.
func everybody() []string {
	return []string{nameDrop, nameBare, "asavie", "testpmd", "inproc", "memif", "tap", "bridge", "macvlan", "routed", "ovs", "ovs-afxdp"}
}

// deliverers are the limits and those who deliver to containers.
func deliverers() []string {
	return []string{nameDrop, nameBare, "memif", "tap", "bridge", "macvlan", "routed"}
}

// caseList grows.
type caseList []testCase

// add appends a case for each number of containers.
func (l *caseList) add(c testCase, contenders []string, containers ...int) {
	for _, n := range containers {
		c.Containers, c.Contenders = n, contenders
		*l = append(*l, c)
	}
}

// committedCases is the list that make bench runs.
func committedCases() []testCase {
	var l caseList
	l.inward()
	l.costs()
	l.outward()
	l.delays()
	l.between()
	l.streams()
	l.crowds()
	l.corners()
	l.rings()
	return l
}

// few are the limits and those who go furthest.
func few() []string { return []string{nameDrop, nameBare, "inproc", "memif"} }

// fromWire is as much as goes.
func fromWire() testCase { return testCase{Direction: wireIn, Size: "64B", Limit: nameBare} }

// inward are the rates from the wire. What is compared across cases comes first,
// to be in one chunk.
func (l *caseList) inward() {
	in := fromWire()
	zipf, random := in, in
	zipf.Zipf, random.Random = true, true
	l.add(in, everybody(), 1, 10000)
	l.add(random, few(), 10000, 4000, 1000)
	l.add(zipf, few(), 10000, 4000, 1000, 100)
	l.add(in, few(), 4000)
	l.add(in, everybody(), 100, 1000)
	for _, size := range []string{"512B", "1500B", "IMIX"} {
		in.Size = size
		l.add(in, deliverers(), 1, 100)
		l.add(in, few(), 1000)
	}
}

// costs are what a fixed load takes of all processors.
func (l *caseList) costs() {
	c := fromWire()
	c.Blocking, c.Mpps = true, 0.5
	l.add(c, deliverers(), 1, 100, 1000, 10000)
	l.add(c, []string{nameDrop, nameBare, "memif"}, 4000)
}

// outward are the rates to the wire, alone and with those from it.
func (l *caseList) outward() {
	out := testCase{Direction: wireOut, Size: "64B", Limit: nameBare}
	senders := []string{nameBare, "memif", "tap", "bridge", "macvlan", "routed"}
	l.add(out, senders, 1, 100)
	l.add(out, []string{nameBare, "memif"}, 1000)
	out.Size = "1500B"
	l.add(out, senders, 1, 100)
	l.add(testCase{Direction: both, Size: "64B", Limit: nameBare},
		[]string{nameBare, "inproc", "memif", "tap", "bridge", "macvlan", "routed"}, 1, 100)
}

// delays are round trips.
func (l *caseList) delays() {
	idle := testCase{Direction: latency, Size: "64B", Blocking: true, Limit: "bridge"}
	l.add(idle, []string{"bridge", "macvlan", "routed", "tap", "memif"}, 1, 100, 1000)
	awake := idle
	awake.Awake = true
	l.add(awake, []string{"bridge", "macvlan", "routed", "tap", "memif"}, 1)
	loaded := idle
	loaded.HalfOf = "bridge"
	l.add(loaded, []string{"bridge", "macvlan", "routed", "tap", "memif", "memif-gc"}, 1, 100)
	l.add(testCase{Direction: victim, Size: "64B", Blocking: true, Mpps: 0.05, Limit: nameAlone},
		[]string{nameAlone, "beside", "beside-rules", "bridge-alone", "bridge-rules"}, 2)
}

// between are the rates from container to container.
func (l *caseList) between() {
	c := testCase{Direction: local, Size: "64B", Limit: "bridge"}
	l.add(c, []string{"bridge", "macvlan", "routed", "tap", "memif", "inproc"}, 2, 16)
	c.Limit = "memif"
	l.add(c, []string{"memif", "inproc"}, 1000)
	l.add(testCase{Direction: memory, Size: "64B", Zipf: true, Limit: nameLanes}, []string{nameLanes}, 16, 1000, 10000)
}

// streams are TCP's.
func (l *caseList) streams() {
	peers := []string{"bridge", "macvlan", "routed", "xdpdemux"}
	for _, size := range []string{"1stream", "32streams"} {
		c := testCase{Size: size, Blocking: true, Limit: "bridge"}
		c.Direction = tcpIn
		l.add(c, peers, 1)
		c.Direction = tcpOut
		l.add(c, append(slices.Clone(peers), "wire-gso"), 1)
		c.FarThread = true
		l.add(c, []string{"bridge", "xdpdemux", "wire-gso"}, 1)
		c.FarThread = false
		c.Direction, c.Limit = tcpLocal, "veth"
		l.add(c, append([]string{"veth"}, peers...), 2)
	}
	host := testCase{Size: "1stream", Blocking: true, Limit: "before"}
	for _, host.Direction = range []string{tcpHostIn, tcpHostOut} {
		l.add(host, []string{"before", "native", "generic"}, 1)
	}
}

// crowds are thousands of ports, at rest and coming.
func (l *caseList) crowds() {
	l.add(testCase{Direction: density, Size: "ports", Rounds: 2, Limit: "memif-ports"},
		[]string{"memif-ports", "memif-clients", "tap-ports", "bridge-ports", "macvlan-ports"}, 1000, 10000)
	l.add(testCase{Direction: churn, Size: "64B", Blocking: true, Mpps: 0.1, Rounds: 3, Limit: "memif-adding"},
		[]string{"memif-adding", "bridge-adding", "macvlan-adding"}, 16)
}

// corners are other shares of the processors.
func (l *caseList) corners() {
	for _, how := range []string{oneCoreThreaded, oneCoreBusyPoll} {
		c := fromWire()
		c.OneCore = how
		l.add(c, []string{nameBare, "inproc", "memif"}, 1000)
	}
	var shares []string
	for _, k := range queueContenders() {
		shares = append(shares, k.name)
	}
	l.add(testCase{Direction: manyQueues, Size: "64B", Limit: queueName(1, 1)}, shares, 100)
}

// rings are single memifs.
func (l *caseList) rings() {
	ends := []string{nameRing, "lane>testpmd", "testpmd>lane", "lane>client", "client>lane"}
	for _, size := range []string{"64B", "1500B"} {
		l.add(testCase{Direction: ring, Size: size, Limit: nameRing}, ends, 1)
	}
}

// quickCases is the short list: one of each sort, with the peers that are quick
// to build.
func quickCases() []testCase {
	in := testCase{Direction: wireIn, Size: "64B", Containers: 1, Limit: nameBare,
		Contenders: []string{nameDrop, nameBare, "memif", "bridge", "macvlan"}}
	many := in
	many.Containers, many.Contenders, many.Often = 1000, []string{nameBare, "memif"}, 2
	blocking := in
	blocking.Blocking, blocking.Mpps, blocking.Often = true, 0.5, 2
	blocking.Contenders = []string{nameDrop, nameBare, "memif"}
	awake := testCase{Direction: latency, Size: "64B", Containers: 1, Blocking: true, Awake: true, Often: 2,
		Limit: "bridge", Contenders: []string{"bridge", "memif"}}
	return []testCase{in, many, blocking,
		{Direction: wireOut, Size: "64B", Containers: 1, Limit: nameBare, Contenders: []string{nameBare, "memif"}},
		awake,
	}
}
