package main

// committedCases is the list that make bench runs.
func committedCases() (list []testCase) {
	for _, n := range []int{1, 100, 1000, 10000} {
		list = append(list, testCase{Direction: wireIn, Size: "64B", Containers: n, Quick: n == 1 || n == 1000, Limit: nameBare,
			Contenders: []string{nameDrop, nameBare, "inproc", "memif"}})
	}
	for _, n := range []int{1, 100, 1000, 10000} {
		list = append(list, testCase{Direction: wireIn, Size: "64B", Containers: n, Blocking: true, Mpps: 0.5, Limit: nameBare,
			Contenders: []string{nameDrop, nameBare, "memif", "tap", "bridge", "macvlan", "routed"}})
	}
	for _, n := range []int{1, 1000} {
		list = append(list, testCase{Direction: wireOut, Size: "64B", Containers: n, Limit: nameBare,
			Contenders: []string{nameBare, "memif", "tap", "bridge", "macvlan", "routed"}})
	}
	for _, n := range []int{1, 100} {
		list = append(list, testCase{Direction: latency, Size: "64B", Containers: n, Blocking: true, Limit: "bridge",
			Contenders: []string{"bridge", "macvlan", "routed", "tap", "memif"}})
	}
	for _, size := range []string{"64B", "1500B"} {
		list = append(list, testCase{Direction: ring, Size: size, Containers: 1, Limit: nameRing,
			Contenders: []string{nameRing, "lane>testpmd", "testpmd>lane", "lane>client", "client>lane"}})
	}
	return list
}
