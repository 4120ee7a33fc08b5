# What each target does is said behind its ##; `make help` prints that.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Through sudo the PATH is root's: Go is also looked for where its own archive and Debian's backports put it.
ifndef GO
GO := $(firstword $(shell command -v go 2>/dev/null) $(wildcard /usr/local/go/bin/go /usr/lib/go/bin/go $(HOME)/go/bin/go) go)
endif
PREFIX  ?= /usr/local
BENCH_RESULTS ?= bin/bench.json
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)
export CGO_ENABLED := 0
# Tests and go generate run Go, too.
export PATH := $(PATH):$(patsubst %/,%,$(dir $(GO))):/usr/sbin:/sbin

# The tests that change interfaces run as root; the compiling stays with the
# caller, so that no file of the build cache comes to belong to root.
ROOTEXEC := $(if $(SUDO),-exec "$(SUDO) -E env PATH=$(PATH)")
LDFLAGS  := -s -w -X github.com/xdpdemux/xdpdemux/cmd/internal/cli.Version=$(VERSION)

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## put static binaries into bin/
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/ ./cmd/xdpdemux

.PHONY: examples
examples: ## put the programs of examples/ into bin/
	$(GO) build -trimpath -buildvcs=false -o bin/ ./examples/echo
	cd examples/netstack && $(GO) build -trimpath -buildvcs=false -o ../../bin/ .

.PHONY: demo
demo: deps-demo build ## a veth NIC, three containers, live traffic; ends with Ctrl-C
	$(SUDO) bin/xdpdemux demo

.PHONY: test
test: export XDPDEMUX_TEST_BINARY := $(CURDIR)/bin/xdpdemux
test: export XDPDEMUX_TEST_ECHO := $(CURDIR)/bin/echo
test: export XDPDEMUX_TEST_NETSTACK := $(CURDIR)/bin/netstack
test: deps-test build examples ## every test, also those that need root, in namespaces of their own
	.ci/patient $(GO) test -count=1 -p 1 -timeout 10m $(ROOTEXEC) -- $$($(GO) list ./... | grep -v /internal/e2e$$)
	.ci/patient $(GO) test -count=1 -timeout 20m $(ROOTEXEC) -- ./cmd/internal/e2e
	cd examples/netstack && ../../.ci/patient $(GO) test -trimpath -count=1 -timeout 5m -- ./...
	$(MAKE) --no-print-directory fuzz

# Counted, not timed: a target that is told to stop by the clock may say that it failed.
FUZZTIME ?= 50000x
FUZZED   := FuzzControl FuzzDescriptors FuzzHeads

.PHONY: fuzz
fuzz: ## fuzz what a hostile memif client may say and write, three ways, FUZZTIME executions each (a minute in all)
	for f in $(FUZZED); do .ci/patient $(GO) test -count=1 -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -- ./queues/memif; done

.PHONY: test-vm
test-vm: export XDPDEMUX_TEST_BINARY := $(CURDIR)/bin/xdpdemux
test-vm: export XDPDEMUX_TEST_ECHO := $(CURDIR)/bin/echo
test-vm: deps-vm build examples ## zero-copy on a NIC that does it, and its refusal where that does not, in virtual machines
	.ci/patient $(GO) test -tags vm -count=1 -timeout 50m -- ./cmd/internal/e2e/vm

.PHONY: test-long
test-long: ## what needs minutes: the same fuzzing for an hour, and the shared memory under the race detector 20 times
	$(MAKE) --no-print-directory fuzz FUZZTIME=20m
	CGO_ENABLED=1 $(GO) test -race -count=20 -timeout 60m ./queues/memif/...

.PHONY: check
check: deps-check ## formatting, vet, the race detector without root, and whether the eBPF objects are those of their source
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt differs: $$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags vm ./cmd/internal/e2e/...
	$(GO) -C bench/plot vet ./...
	$(GO) -C bench/plot test -count=1 ./...
	$(GO) mod verify
	$(GO) mod tidy -diff
	cd examples/netstack && $(GO) vet ./... && $(GO) mod tidy -diff
	$(MAKE) --no-print-directory check-bpf
	.ci/patient_test
	CGO_ENABLED=1 .ci/patient $(GO) test -race -count=1 -timeout 10m -- $(RACED)

# Where several threads share memory by rules of their own.
RACED := ./demux/... ./queues/inproc ./queues/memif/... ./cmd/internal/control ./cmd/internal/state ./cmd/internal/neighbour ./cmd/internal/epoll

.PHONY: check-bpf
check-bpf: bpf
	@if ! git diff --exit-code --stat -- '*_bpfel.o' '*_bpfeb.o' '*_bpfel.go' '*_bpfeb.go'; then \
	  echo "the eBPF objects are not those of their source: run make bpf and commit the result"; exit 1; fi

.PHONY: bench bench-quick bench-report bench-micro
bench: deps-bench build ## xdpdemux beside its peers, every case, under an hour; kept in BENCH_RESULTS and continued there
	$(GO) build -pgo=$(PROFILE) -o bin/bench ./bench
	$(SUDO) bin/bench -resume $(BENCH_RESULTS)

bench-quick: deps-bench build ## the same with the short list and short windows, under a minute
	$(GO) build -pgo=$(PROFILE) -o bin/bench ./bench
	$(SUDO) bin/bench -quick

bench-report: ## docs/bench: RESULTS.md, its plots and its data, from BENCH_RESULTS
	mkdir -p docs/bench
	cp $(BENCH_RESULTS) docs/bench/results.json
	$(GO) run ./bench report docs/bench/results.json >docs/bench/RESULTS.md
	$(GO) -C bench/plot run . $(CURDIR)/docs/bench/results.json $(CURDIR)/docs/bench
	cd docs/bench && { printf '\n## Plots\n\n'; for f in *.svg; do printf '![%s](%s)\n\n' "$${f%.svg}" "$$f"; done; } >>RESULTS.md

bench-micro: ## benchmarks of the data path's pieces, in memory and on a veth NIC
	$(GO) test -run '^$$' -bench . -benchtime 1s $(ROOTEXEC) ./xdp/... ./demux/... ./queues/...

# What the compiler is told of the data path; the daemon and the benchmark, which
# runs the same code in a process of its own, are built with it.
PROFILE := cmd/xdpdemux/default.pgo

.PHONY: profile
profile: ## make PROFILE anew, from the benchmarks of the data path in memory
	$(GO) test -trimpath -pgo=off -run '^$$' -bench 'Inbound|Outbound|Local' -benchtime 2s -o bin/ -cpuprofile $(CURDIR)/bin/demux.prof ./demux
	$(GO) test -trimpath -pgo=off -run '^$$' -bench 'DeliverMany|Collect' -benchtime 2s -o bin/ -cpuprofile $(CURDIR)/bin/memif.prof ./queues/memif
	$(GO) tool pprof -proto bin/demux.prof bin/memif.prof >$(PROFILE)

.PHONY: bpf
bpf: deps-check ## rebuild the eBPF objects from their source
	$(GO) generate ./xdp/... ./queues/...

.PHONY: install
install: build ## put the binaries into PREFIX/bin (default /usr/local)
	$(SUDO) install -D -m 0755 bin/xdpdemux $(DESTDIR)$(PREFIX)/bin/xdpdemux

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
	$(GO) clean -testcache

# ---- the Debian packages that a target needs, installed where they are missing

.PHONY: deps-demo deps-test deps-vm deps-check deps-bench
deps-demo:
	@.ci/need ip:iproute2 ping:iputils-ping ethtool:ethtool nsenter:util-linux
deps-test: deps-demo
	@.ci/need arping:arping ndisc6:ndisc6 iperf3:iperf3 tcpdump:tcpdump curl:curl \
	  nft:nftables fping:fping sysctl:procps python3:python3 git:git \
	  dpdk-testpmd:dpdk-dev setpriv:util-linux
deps-vm: deps-demo
	@.ci/need qemu-system-x86_64:qemu-system-x86 cpio:cpio ldd:libc-bin setpriv:util-linux
deps-bench: deps-demo
	@.ci/need dpdk-testpmd:dpdk-dev iperf3:iperf3 nft:nftables taskset:util-linux
deps-check:
	@.ci/need clang:clang llvm-strip:llvm /usr/include/bpf/bpf_helpers.h:libbpf-dev git:git \
	  gcc:gcc /usr/include/stdlib.h:libc6-dev python3:python3 curl:curl dpdk-testpmd:dpdk-dev
