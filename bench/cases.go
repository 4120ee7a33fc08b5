package main

// everybody is all who can take frames from the wire.
func everybody() []string {
	return []string{nameDrop, nameBare, "asavie", "testpmd", "inproc", "memif", "tap", "bridge", "macvlan", "routed", "ovs", "ovs-afxdp"}
}

// deliverers are the limits and those who deliver to containers.
func deliverers() []string {
	return []string{nameDrop, nameBare, "memif", "tap", "bridge", "macvlan", "routed"}
}

// committedCases is the list that make bench runs.
func committedCases() (list []testCase) {
	add := func(c testCase, contenders []string, containers ...int) {
		for _, n := range containers {
			c.Containers, c.Contenders = n, contenders
			list = append(list, c)
		}
	}
	in := testCase{Direction: wireIn, Size: "64B", Limit: nameBare}
	zipf, random := in, in
	zipf.Zipf, random.Random = true, true
	few := []string{nameDrop, nameBare, "inproc", "memif"}
	add(in, everybody(), 1, 10000) // what is compared across cases is in one chunk
	add(random, few, 10000, 4000, 1000)
	add(zipf, few, 10000, 4000, 1000, 100)
	add(in, few, 4000)
	add(in, everybody(), 100, 1000)
	for _, size := range []string{"512B", "1500B", "IMIX"} {
		c := in
		c.Size = size
		add(c, deliverers(), 1, 100)
		add(c, few, 1000)
	}
	blocking := in
	blocking.Blocking, blocking.Mpps = true, 0.5
	add(blocking, deliverers(), 1, 100, 1000, 10000)
	add(blocking, []string{nameDrop, nameBare, "memif"}, 4000)

	senders := []string{nameBare, "memif", "tap", "bridge", "macvlan", "routed"}
	out := testCase{Direction: wireOut, Size: "64B", Limit: nameBare}
	add(out, senders, 1, 100)
	add(out, []string{nameBare, "memif"}, 1000)
	out.Size = "1500B"
	add(out, senders, 1, 100)

	add(testCase{Direction: latency, Size: "64B", Blocking: true, Limit: "bridge"},
		[]string{"bridge", "macvlan", "routed", "tap", "memif"}, 1, 100, 1000)

	loaded := testCase{Direction: latency, Size: "64B", Blocking: true, Limit: "bridge", HalfOf: "bridge"}
	add(loaded, []string{"bridge", "macvlan", "routed", "tap", "memif", "memif-gc"}, 1, 100)

	add(testCase{Direction: both, Size: "64B", Limit: nameBare},
		[]string{nameBare, "inproc", "memif", "tap", "bridge", "macvlan", "routed"}, 1, 100)

	passing := testCase{Direction: local, Size: "64B", Limit: "bridge"}
	add(passing, []string{"bridge", "macvlan", "routed", "tap", "memif", "inproc"}, 2, 16)
	passing.Limit = "memif"
	add(passing, []string{"memif", "inproc"}, 1000)

	for _, streams := range []string{"1stream", "32streams"} {
		tcp := testCase{Size: streams, Blocking: true, Limit: "bridge"}
		peers := []string{"bridge", "macvlan", "routed", "xdpdemux"}
		for _, tcp.Direction = range []string{tcpIn, tcpOut} {
			add(tcp, peers, 1)
		}
		tcp.Direction, tcp.Limit = tcpLocal, "veth"
		add(tcp, append([]string{"veth"}, peers...), 2)
	}
	hosts := testCase{Size: "1stream", Blocking: true, Limit: "before"}
	for _, hosts.Direction = range []string{tcpHostIn, tcpHostOut} {
		add(hosts, []string{"before", "native", "generic"}, 1)
	}

	ports := testCase{Direction: density, Size: "ports", Rounds: 2, Limit: "memif-ports"}
	add(ports, []string{"memif-ports", "memif-clients", "tap-ports", "bridge-ports", "macvlan-ports"}, 1000, 10000)

	add(testCase{Direction: memory, Size: "64B", Zipf: true, Limit: nameLanes}, []string{nameLanes}, 16, 1000, 10000)

	for _, how := range []string{oneCoreThreaded, oneCoreBusyPoll} {
		one := in
		one.OneCore = how
		add(one, []string{nameBare, "inproc", "memif"}, 1000)
	}

	several := testCase{Direction: manyQueues, Size: "64B", Limit: queueName(1, 1)}
	var shares []string
	for _, k := range queueContenders() {
		shares = append(shares, k.name)
	}
	add(several, shares, 100)

	beside := testCase{Direction: victim, Size: "64B", Blocking: true, Mpps: 0.05, Limit: nameAlone}
	add(beside, []string{nameAlone, "beside", "beside-rules", "bridge-alone", "bridge-rules"}, 2)

	adding := testCase{Direction: churn, Size: "64B", Blocking: true, Mpps: 0.1, Rounds: 3, Limit: "memif-adding"}
	add(adding, []string{"memif-adding", "bridge-adding", "macvlan-adding"}, 16)

	rings := []string{nameRing, "lane>testpmd", "testpmd>lane", "lane>client", "client>lane"}
	for _, size := range []string{"64B", "1500B"} {
		add(testCase{Direction: ring, Size: size, Limit: nameRing}, rings, 1)
	}
	return list
}

// quickCases is the short list: one of each sort, with the peers that are quick
// to build.
func quickCases() []testCase {
	in := testCase{Direction: wireIn, Size: "64B", Containers: 1, Limit: nameBare,
		Contenders: []string{nameDrop, nameBare, "memif", "bridge", "macvlan"}}
	many := in
	many.Containers, many.Contenders = 1000, []string{nameBare, "memif"}
	blocking := in
	blocking.Blocking, blocking.Mpps, blocking.Contenders = true, 0.5, []string{nameDrop, nameBare, "memif"}
	return []testCase{in, many, blocking,
		{Direction: wireOut, Size: "64B", Containers: 1, Limit: nameBare, Contenders: []string{nameBare, "memif"}},
		{Direction: latency, Size: "64B", Containers: 1, Blocking: true, Limit: "bridge", Contenders: []string{"bridge", "memif"}},
	}
}
