# Evergate: everything that a developer or the CI runs. `make` lists it.
#
# Needs Go and, for `test` and `demo`, Debian 12 or its like with root or sudo.
# Tools are pinned in tools.mod and built by the go command on first use.

MODULE  := github.com/evergate/evergate
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# A vendor's plugin, a module of its own as a vendor's is.
EXAMPLE := plugins/examplenpu

# What the contract with dataplanes must stay compatible with, besides the minor
# versions that were published: the last tag, or else the last commit.
CONTRACT_BASE ?= $(shell git describe --tags --abbrev=0 2>/dev/null || git rev-parse HEAD 2>/dev/null)
CONTRACT_PUBLISHED := $(wildcard offload/pluginrpc/testdata/contract/*.binpb)

# What the tests and the demo run besides Go: peers, captures, NAT, traffic,
# the C compiler that the race detector asks for, a virtual machine and what
# makes a module for its kernel, and what checks the unit of the service. On another system install the like of it and
# run make with PACKAGES= .
PACKAGES ?= \
	strongswan-charon strongswan-swanctl \
	libcharon-extra-plugins libcharon-extauth-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins \
	tshark tcpdump nftables iproute2 iputils-ping iperf3 bird2 \
	gcc libc6-dev \
	qemu-system-x86 kmod gcc-12 xz-utils \
	systemd procps

# What the dataplane on DPDK is built from, behind a tag of its own.
DPDK_PACKAGES ?= libdpdk-dev libipsec-mb-dev pkgconf gcc libc6-dev ethtool
DPDK := ./plugins/dpdk/... ./cmd/evergate-plugin-dpdk ./bench/dpdk
# Tags of the plugin with both engines, and what building nff-go asks for.
DPDK_TAGS := dpdk,nffgo
WITH_NFFGO := plugins/dpdk/compat/run

# The packages whose tests need root and PACKAGES. `make check` and `make
# race` leave them out.
INTEGRATION := bench/failover bench/handshake bench/scale bench/throughput cmd/evergate-demo cmd/evergate-plugin-softesp core/e2e core/e2e/ikev1 core/netlab core/netlab/strongswan core/netlab/vm core/netlab/vm/e2e core/route \
	ha/transport/e2e ha/witness ha/witness/address ha/witness/carrier plugins/softesp plugins/softesp/device plugins/xfrm plugins/xfrm/e2e plugins/xfrm/sparse

# The state machines, and what plays whole clusters of them. Each is one goroutine's, as
# core/arch_test.go sees to: the race detector has nothing to find there, and makes them
# ten times slower. `make race` has it look at them all the same.
MACHINES := ./core/ipsec/... ./core/sim ./ha ./ha/hatest ./ha/wire ./ike/...

# A number of runs (100000x) or a time (10m). Runs are the default because Go
# before 1.27 may report "context deadline exceeded" as the failure of a target
# that found nothing when its time is up.
FUZZTIME     ?= 100000x
BENCH        ?= .
BENCHCOUNT   ?= 6
TUNNELS      ?= 100000
PLUGIN       ?= softesp
ARGS         ?=
TEST_TIMEOUT ?= 20m
# For each go test, -vet=off for instance where everything has been vetted already.
TESTFLAGS    ?=
SEEDS        ?= 10000

export GOFLAGS := $(strip $(filter-out -mod=%,$(shell go env GOFLAGS)) -mod=readonly)

TOOL := go tool -modfile=tools.mod
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
# Only the tests run as root; the go command and its cache stay the user's.
AS_ROOT := $(if $(SUDO),-exec 'sudo -E env PATH=$(PATH)')

unit      = $(filter-out $(addprefix $(MODULE)/,$(INTEGRATION)),$(shell go list ./...))
threaded  = $(filter-out $(shell go list $(MACHINES)),$(shell go list ./...))
with-func = $(shell grep -rlE '^func $(1)[A-Z]' --include='*_test.go' . | xargs -r -n1 dirname | sort -u)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Build and run

.PHONY: build
build: ## Build every program of cmd/ into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...
	cd $(EXAMPLE) && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o $(CURDIR)/bin/ ./cmd/...

.PHONY: demo
demo: deps build ## Dial in through real namespaces; then one gateway of four dies under traffic (static routes, BGP)
	$(SUDO) bin/evergate-demo

.PHONY: demo-vendor
demo-vendor: deps build ## Part of the demo on a vendor's dataplane: strongSwan dials in, one gateway of four dies
	$(SUDO) bin/evergate-demo -plugin bin/evergate-plugin-examplenpu strongswan fgsp

.PHONY: dpdk
dpdk: dpdk-deps ## Build the dataplane on DPDK into bin/
	$(WITH_NFFGO) go build -tags $(DPDK_TAGS) -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/evergate-plugin-dpdk

.PHONY: clean
clean: ## Remove what these targets made
	rm -rf bin

##@ Test

.PHONY: check
check: fmt-check vet lint proto-check contract-check requirements-check example-check ## Everything that needs no root: format, vet, lint, protobuf, requirements, unit tests, the example of a vendor
	go test $(TESTFLAGS) -timeout $(TEST_TIMEOUT) $(unit)

# Not from go test's cache: it does not see that tests build and start programs of ours.
.PHONY: test
test: deps ## All tests, network and strongSwan included, under the race detector but for the state machines, which play thousands of seeds
	go test $(TESTFLAGS) -timeout $(TEST_TIMEOUT) $(MACHINES)
	go test $(TESTFLAGS) -race -count=1 -timeout $(TEST_TIMEOUT) $(AS_ROOT) $(threaded)

.PHONY: dpdk-test
dpdk-test: deps dpdk-deps ## Lint and test the dataplane on DPDK, under the race detector; no hardware or hugepages needed
	$(WITH_NFFGO) $(TOOL) golangci-lint run --build-tags $(DPDK_TAGS) $(DPDK)
	$(WITH_NFFGO) go test $(TESTFLAGS) -tags $(DPDK_TAGS) -race -count=1 -timeout $(TEST_TIMEOUT) $(AS_ROOT) $(DPDK)
	@[ $$(nproc) -ge 4 ] || echo "nff-go's graph was built and not run: it wants 4 processors, and there are $$(nproc) here."
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 $(WITH_NFFGO) go test $(TESTFLAGS) -tags dpdk,sanitize -timeout $(TEST_TIMEOUT) $(AS_ROOT) -run '^(TestSAsComeAndGo|TestCiphersAgree|TestCryptodevThat|TestEngineThatWasNotBuilt)' ./plugins/dpdk ./plugins/dpdk/losing

.PHONY: race
race: ## The unit tests of `check`, under the race detector
	go test $(TESTFLAGS) -race -timeout $(TEST_TIMEOUT) $(unit)

.PHONY: sim
sim: ## Play SEEDS (10000) clusters with crashes, partitions and losses; a failing seed says how to replay it
	go test ./ha/hatest ./core/sim -run TestSeeds -seeds $(SEEDS) -timeout 0

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (100000x)
	@grep -rEo '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' . | sort | while IFS=: read -r file func; do \
		target=$${func#func }; package=$$(dirname $$file); echo "$$package $$target"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package </dev/null || exit 1; \
	done

.PHONY: bench
bench: deps build bin/wireguard-go ## All measurements of the whole thing, next to its peers: bin/bench.html, and lines for benchstat in bin/bench.txt
	$(SUDO) bin/evergate bench all --html bin/bench.html --benchstat bin/bench.txt

.PHONY: bench-go
bench-go: ## Run the Go benchmarks that match BENCH (.), BENCHCOUNT (6) times, into bin/bench-go.txt
	@mkdir -p bin
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(BENCHCOUNT) -timeout 0 $(call with-func,Benchmark) | tee bin/bench-go.txt

.PHONY: bin/wireguard-go
bin/wireguard-go:
	go build -modfile=tools.mod -o $@ golang.zx2c4.com/wireguard

.PHONY: bench-failover bench-handshake bench-scale bench-throughput
bench-failover: build ## What the death of a member costs, with real members and clients between namespaces
	$(SUDO) bin/evergate bench failover --html bin/failover.html

bench-handshake: deps build ## What a tunnel costs an IKE responder, next to strongSwan; ARGS for more (--memory 1000)
	$(SUDO) bin/evergate bench handshake --html bin/handshake.html $(ARGS)

bench-scale: build ## What many tunnels cost: join, synchronization, memory; TUNNELS (100000) of them
	$(SUDO) bin/evergate bench scale --tunnels $(TUNNELS) --html bin/scale.html

bench-throughput: deps build bin/wireguard-go ## How fast PLUGIN carries packets, next to wireguard-go and strongSwan; ARGS for more (--proposal aes128-sha1)
	$(SUDO) bin/evergate bench throughput --plugin $(PLUGIN) --html bin/throughput.html $(ARGS)

.PHONY: bench-dpdk
bench-dpdk: dpdk-deps bin/bench/examples/ipsec-secgw/build/ipsec-secgw ## What a worker of the dataplane on DPDK encrypts and decrypts, next to DPDK's own gateway and to what its cipher alone can do
	@.ci/deps dpdk # for dpdk-test-crypto-perf
	go build -tags dpdk -o bin/bench/ ./bench/dpdk
	$(SUDO) bin/bench/dpdk --ipsec-secgw bin/bench/examples/ipsec-secgw/build/ipsec-secgw $(ARGS)

# Debian has DPDK's own gateway as an example in source, which insists on ports that
# check checksums, as virtual ones do not.
bin/bench/examples/ipsec-secgw/build/ipsec-secgw: | dpdk-deps
	@.ci/deps dpdk-doc
	mkdir -p bin/bench
	cp -r /usr/share/dpdk/examples bin/bench/
	sed -i 's/\.offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM,/.offloads = 0,/' bin/bench/examples/ipsec-secgw/ipsec-secgw.c
	$(MAKE) -C bin/bench/examples/ipsec-secgw

.PHONY: benchstat
benchstat: ## Compare two results: make benchstat OLD=before.txt NEW=bin/bench-go.txt
	@$(TOOL) benchstat $(OLD) $(NEW)

##@ Parts of check

.PHONY: fmt-check
fmt-check: ## Fail when `make fmt` would change something
	$(TOOL) golangci-lint fmt --diff

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint
lint: ## golangci-lint, as .golangci.yml says: vets as well
	$(TOOL) golangci-lint run ./...

.PHONY: proto-check
proto-check: ## Lint the protobuf files; fail when the Go code generated from them is stale
	$(TOOL) buf lint
	@stale=; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(TOOL) buf generate --output "$$fresh" || exit 1; \
	for file in $$( (find . -name '*.pb.go'; cd "$$fresh" && find . -name '*.pb.go') | sort -u); do \
		cmp -s "$$file" "$$fresh/$$file" || { echo "$$file is stale: run make generate" >&2; stale=1; }; \
	done; \
	[ -z "$$stale" ]

.PHONY: contract-check
contract-check: ## Fail when the contract with dataplanes breaks those who were built against it before
	@commit=$(CONTRACT_BASE); \
	for base in $(CONTRACT_PUBLISHED) $${commit:+".git#ref=$$commit,subdir=offload/proto"}; do \
		echo "buf breaking offload/proto --against $$base"; \
		$(TOOL) buf breaking offload/proto --against "$$base" || exit 1; \
	done

.PHONY: example-check
example-check: ## Lint and test the vendor's plugin, a module that knows Evergate by its contract alone
	cd $(EXAMPLE) && go tool -modfile=$(CURDIR)/tools.mod golangci-lint run ./...
	cd $(EXAMPLE) && go test $(TESTFLAGS) -race -timeout $(TEST_TIMEOUT) ./...

.PHONY: requirements-check
requirements-check: ## Fail when core/requirements.md and the tests tell different stories
	go run ./core/requirements

##@ Change files

.PHONY: fmt
fmt: ## Format all Go files (gofumpt, gci) and protobuf files
	$(TOOL) golangci-lint fmt
	$(TOOL) buf format --write

.PHONY: generate
generate: ## Generate Go code from the protobuf files
	$(TOOL) buf generate

.PHONY: contract-record
contract-record: ## Put the contract with dataplanes as of the last commit on record as minor version MINOR, before adding to it
	$(TOOL) buf build '.git#ref=HEAD,subdir=offload/proto' --exclude-source-info -o offload/pluginrpc/testdata/contract/1.$(MINOR).binpb

.PHONY: requirements
requirements: ## Note in core/requirements.md which tests hold each statement, list those that none holds
	go run ./core/requirements -write

##@ Prepare

.PHONY: deps
deps: ## Install the Debian packages of PACKAGES that are missing
	@.ci/deps $(PACKAGES)

.PHONY: dpdk-deps
dpdk-deps: ## Install the Debian packages of DPDK_PACKAGES that are missing
	@.ci/deps $(DPDK_PACKAGES)

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
