# make help lists the targets.

GO       ?= go
# A count, not a duration: golang.org/issue/75804 fails a target now and then when its time is over.
FUZZTIME ?= 10000x
BENCH    ?= .
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# Our own Go code; the tools module has none.
GOFMT_LIST = gofmt -l $$(find . -name '*.go' -not -path './bin/*' -not -path './.run/*')

.DELETE_ON_ERROR:

.PHONY: help
help: ## lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Set FUZZTIME (inputs or time of each fuzz target, $(FUZZTIME)) and BENCH (which benchmarks, as a regular expression) as needed."

.PHONY: build
build: ## builds bin/meridian
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/meridian ./cmd/meridian

.PHONY: run
run: build ## starts a server on 127.0.0.1:5300 with its own etcd, a sample registry and three backends; its state stays in .run
	bin/meridian demo testdata/sample.json --dns-listen 127.0.0.1:5300 --data-dir .run/meridian $(addprefix --geo-database ,$(wildcard $(GEODB)))

# The package's package.json says CC0; part of what it holds is of nro.net, which its README says and NRO_LICENSE: CC BY 4.0, with
# attribution. npm pack leaves no project behind. npm can be given another registry by its own configuration.
GEODB = geodb/geo-whois-asn-country.mmdb

.PHONY: geodb
geodb: $(GEODB) ## fetches a database of countries by network (IPv4 and IPv6) through npm into geodb, for make run

$(GEODB):
	@command -v npm >/dev/null || { echo "npm is missing: install it (npm, nodejs), or put an MMDB file at $@" >&2; exit 1; }; \
	mkdir -p geodb && cd geodb && rm -rf package && \
	tarball=$$(npm pack --loglevel=error @ip-location-db/geo-whois-asn-country-mmdb) && tar -xzf "$$tarball" && \
	mv package/geo-whois-asn-country-ipv4.mmdb package/geo-whois-asn-country-ipv6.mmdb package/NRO_LICENSE . && \
	mv package/geo-whois-asn-country.mmdb . && rm -rf package "$$tarball" && \
	echo "fetched $${tarball%.tgz} into geodb:" && ls -l

.PHONY: test
test: dig lint unit race fuzz ## all that a change must pass: lint, tests, race detector, short fuzzing

# The examples (testdata/examples) are typed with the etcdctl of our etcd's version.
.PHONY: unit
unit: bin/etcdctl ## tests, budgets of allocations included
	$(GO) test ./...

# The race detector allocates on its own account: budgets of allocations hold in unit alone.
.PHONY: race
race: bin/etcdctl ## tests under the race detector
	$(GO) test -race ./...

.PHONY: lint
lint: bin/staticcheck ## gofmt, go vet, staticcheck (staticcheck.conf), tidiness of go.mod
	@unformatted=$$($(GOFMT_LIST)) || exit; \
	if [ -n "$$unformatted" ]; then echo "gofmt -w these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	bin/staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) mod verify

# One go test fuzzes one target; which there are, the test files say.
.PHONY: fuzz
fuzz: ## runs every fuzz target FUZZTIME inputs
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sort | \
	while IFS=: read -r file func; do \
		echo "$(GO) test -fuzz $${func#func } -fuzztime $(FUZZTIME) $${file%/*}"; \
		$(GO) test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$${file%/*}" || exit; \
	done

.PHONY: bench
bench: ## runs the benchmarks that match BENCH
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# Some 25 minutes; ROUNDS, SECONDS_EACH, MODES, ONLY, SECTIONS: testdata/bench/lib.sh and peers.sh.
.PHONY: bench-peers
bench-peers: build ## measures beside a bare echo and the peers, which it installs; prints the tables of BENCHMARKS.md
	testdata/bench/install.sh >&2
	testdata/bench/peers.sh bin/meridian

.PHONY: bench-million
bench-million: ## what a million names cost: memory, time to load, the tail while they reload; prints a table
	$(GO) test -tags million -run '^TestMillion$$' -count 1 -v -timeout 20m ./cmd/meridian | grep '^|'

.PHONY: tools
tools: bin/staticcheck bin/etcdctl ## builds staticcheck and etcdctl into bin

bin/staticcheck: tools/go.mod tools/go.sum
	cd tools && $(GO) build -trimpath -o ../$@ honnef.co/go/tools/cmd/staticcheck

# etcdctl's go.mod has replace directives, so that go install of it by version fails.
bin/etcdctl: tools/go.mod tools/go.sum
	cd tools && $(GO) build -trimpath -o ../$@ go.etcd.io/etcd/etcdctl/v3

# Tests ask the server with the dig that operators have.
# Debian's packages, as root or by sudo.
APT = sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	$$sudo apt-get update -q && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends

.PHONY: dig
dig:
	@command -v dig >/dev/null && exit; \
	command -v apt-get >/dev/null || { echo "dig is missing: install it (bind9-dnsutils, bind-utils)" >&2; exit 1; }; \
	echo "dig is missing: installing bind9-dnsutils"; \
	$(APT) bind9-dnsutils

.PHONY: test-interop
test-interop: peers ## compares with NSD and BIND, and has three resolvers resolve; installs them
	$(GO) test -tags interop -run "TestInterop|TestResolvers|TestBIND" -count 1 -v ./cmd/meridian ./store/zonefile

# Most of them wait for most of the time.
.PHONY: test-faults
test-faults: bin/etcdctl ip ## etcd, servers, checkers, backends and networks fail under a stream of queries; networks as root alone
	$(GO) test -tags faults -run '^TestFault|^TestImageKill' -count 1 -v -timeout 8m -p 1 -parallel 3 ./cmd/meridian ./store

# The hosts of the fault tests are made with it.
.PHONY: ip
ip:
	@command -v ip >/dev/null && exit; \
	command -v apt-get >/dev/null || { echo "ip is missing: install it (iproute2)" >&2; exit 1; }; \
	echo "ip is missing: installing iproute2"; \
	$(APT) iproute2

# Debian starts what it installs, unless policy-rc.d forbids it.
.PHONY: peers
peers: ip
	@command -v nsd >/dev/null && command -v unbound >/dev/null && command -v kresd >/dev/null && \
		command -v named >/dev/null && command -v named-checkzone >/dev/null && exit; \
	command -v apt-get >/dev/null || { echo "install nsd, BIND, unbound and Knot Resolver" >&2; exit 1; }; \
	echo "installing nsd, bind9, unbound and knot-resolver"; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod +x $$policy; mine=1; fi; \
	$(APT) nsd bind9 bind9-utils bind9-dnsutils unbound knot-resolver; status=$$?; \
	[ -z "$$mine" ] || $$sudo rm -f $$policy; exit $$status

.PHONY: test-long
test-long: ## hours: random changes of a registry, random worlds of pools, and every fuzz target for ten minutes
	$(GO) test ./policy -run 'SelectTwin$$' -scenes 1000000 -timeout 2h -v
	$(GO) test ./store -run RandomChanges -rounds 20000 -timeout 2h -v
	$(MAKE) fuzz FUZZTIME=10m

.PHONY: clean
clean: ## removes bin and .run, with what the server of make run has stored
	rm -rf bin .run
