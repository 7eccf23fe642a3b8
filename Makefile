# Every target works on a clean clone of a machine with nothing but Go.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# An ordinary user's PATH has no sbin on Debian, where Open vSwitch and iptables are.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

# Modules of their own, so that importers of libcnm never see what they need.
NESTED := $(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path './build/*'))

# RACE= runs the tests without the race detector, in about half the time.
RACE ?= -race
COUNT ?= 10
FUZZTIME ?= 20s

.PHONY: help deps build test test-race test-crash test-kernel lint fuzz bench bench-scale bench-kernel bench-code golden generate demo check clean FORCE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

deps: ## install what tests and demo need; nothing where it is there
	@scripts/install-deps

build: ## compile everything, nested modules too
	go build ./...
	@for m in $(NESTED); do echo "go build in $$m"; go -C $$m build -o /dev/null ./...; done

test: deps ## vet and run every test once, with the race detector
	go vet ./...
	go test $(RACE) -timeout 10m ./...
	@for m in $(NESTED); do echo "go vet and test in $$m"; go -C $$m vet ./... && go -C $$m test ./...; done

test-race: deps ## hunt races: every test three times, shuffled
	go test -race -count=3 -shuffle=on -timeout 30m ./...

test-crash: deps ## every crash point, walk and fault instead of a sample, and a report of what was found
	@mkdir -p build && rm -f $(CURDIR)/build/reliability.jsonl
	@rc=0; set -x; \
	LIBCNM_FULL=1 LIBCNM_REPORT=$(CURDIR)/build/reliability.jsonl go test -count=1 -timeout 2h ./internal/reliability/... ./store/local || rc=$$?; \
	go run ./internal/reliability/report/print build/reliability.jsonl || rc=$$?; \
	exit $$rc

# What depends on the datapath: frames through the pipeline, the driver's laws, the overlay's tests. A test's time is that of the virtual
# machine, which may be ten times this one's.
test-kernel: deps ## the overlay's tests on the kernel's Open vSwitch datapath, in a virtual machine
	@go test -count=1 -run '^$$' . # builds etcd, for which the virtual machine has no network
	LIBCNM_DATAPATH=system go test -count=1 -p 1 -timeout 2h -v -exec '$(CURDIR)/scripts/in-qemu -t 7200' \
		-run 'TestPackets|TestEndpoints|TestNetworksAreApart|TestRemove|TestAcrossHosts|TestEgress|TestControllerRestart|TestConformance|TestMTU|TestCloseLeavesTraffic|TestOverlayAcrossHosts|TestTrafficNeverStops|TestSwitchDownAtStart|TestAddressGoesFromHostToHost' \
		./ovsvxlan ./drivers/ovsvxlan .

lint: ## run the linters, and show that the import rules catch what they should
	@scripts/install-lint
	bin/golangci-lint run ./...
	@for m in $(NESTED); do echo "lint in $$m"; (cd $$m && $(CURDIR)/bin/golangci-lint run ./...); done
	@scripts/test-lint

fuzz: deps ## run every fuzz target for FUZZTIME
	@scripts/fuzz $(FUZZTIME)

BENCH := build/bench
CNI := github.com/containernetworking/plugins/plugins

$(BENCH)/bench: FORCE
	@mkdir -p $(BENCH)
	go -C bench build -o $(CURDIR)/$(BENCH)/ . $(CNI)/main/bridge $(CNI)/ipam/host-local
FORCE:

bench: deps $(BENCH)/bench ## measure against libnetwork, CNI, the kernel's floor, and networks built by hand
	$(BENCH)/bench -cni $(CURDIR)/$(BENCH) -parts lifecycle,forks,growth,traffic -out $(BENCH)

bench-scale: deps $(BENCH)/bench ## measure a restart with 1,000 endpoints, the overlay, and clusters of up to 1,000 nodes
	$(BENCH)/bench -cni $(CURDIR)/$(BENCH) -parts restart,overlay,scale -out $(BENCH)/scale

bench-kernel: deps $(BENCH)/bench ## compare traffic with networks by hand on the kernel's Open vSwitch datapath, in a virtual machine
	@go test -count=1 -run '^$$' . # builds etcd, for which the virtual machine has no network
	@mkdir -p $(BENCH)/kernel
	LIBCNM_DATAPATH=system scripts/in-qemu -t 7200 -o $(BENCH)/kernel \
		$(BENCH)/bench -cni $(CURDIR)/$(BENCH) -parts traffic -reps 12 -out $(BENCH)/kernel

bench-code: deps ## run the Go benchmarks COUNT times, for benchstat
	go test -run '^$$' -bench . -benchmem -count=$(COUNT) ./...

golden: deps ## rewrite the golden files; look at the diff before committing
	go test $$(grep -rl --include='*_test.go' 'testutil\.Golden' . | xargs -r dirname | sort -u) -update

generate: ## run the generators
	go generate ./...

demo: deps ## three hosts, two overlay networks, one bridge network: who reaches whom
	go run ./cmd/cnm-demo

check: lint test ## what CI runs, and that generated files are current
	$(MAKE) generate
	git diff --exit-code

clean: ## remove what was built
	rm -rf bin build
	go clean -testcache
