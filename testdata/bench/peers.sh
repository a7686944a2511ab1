#!/bin/bash
# peers.sh MERIDIAN: a meridian beside the bare echo and the peers that are installed, in interleaved rounds, as the
# Markdown that BENCHMARKS.md holds. COREDNS is its binary (bin/coredns). Other settings: see lib.sh.
#
# SECTIONS of it: peers (1,000 names), names (100,000), workers (two cores), sockets (few clients and many),
# instructions (by callgrind).
set -u
# A session of its own, which the scheduler weighs as one.
if [ -z "${BENCH_SESSION:-}" ]; then
	export BENCH_SESSION=1
	exec setsid -w "$0" "$@"
fi
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
SECTIONS=${SECTIONS:-peers names workers sockets instructions}
COREDNS=${COREDNS:-$TOP/bin/coredns}
MANY=100000 POOLS=1000
STATUS=0

has() {
	command -v "$1" >/dev/null || { echo "$1 is missing: not measured" >&2; false; }
}

# debian PACKAGE: its version.
debian() {
	dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo "of unknown version"
}

machine() {
	echo "Date: $(date -u +%Y-%m-%d)  "
	echo "Commit: $(git -C "$TOP" describe --always --dirty --exclude '*')  "
	echo "Machine: $(nproc) × $(awk -F ': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)," \
		"$(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo)," \
		"$(grep -qw hypervisor /proc/cpuinfo && echo "virtual machine" || echo "no hypervisor")," \
		"Linux $(uname -r), $(${GO:-go} env GOVERSION)  "
	echo "Samples: $SECONDS_EACH s, server on core 0, generator on core 1"
}

# start_peers: each with one thread, on core 0; and a row for each kind of work that it can do.
start_peers() {
	python3 "$HERE/peers.py" "$WORK/conf" || exit
	local c=$WORK/conf versions=()
	if has gdnsd; then
		start gdnsd 0 gdnsd -c "$c/gdnsd" start
		add_kinds gdnsd 127.0.78.12 5402 3A weighted geo:8
		versions+=("gdnsd $(debian gdnsd)")
	fi
	if has knotd; then
		start knot 0 knotd -c "$c/knot/knot.conf"
		add_kinds knot 127.0.78.13 5403 3A weighted geo:3
		versions+=("Knot $(debian knot)")
	fi
	if has nsd; then
		start nsd 0 nsd -d -c "$c/nsd/nsd.conf"
		add_kinds nsd 127.0.78.14 5404 3A
		versions+=("NSD $(debian nsd)")
	fi
	if has pdns_server; then
		start pdns 0 pdns_server --config-dir="$c/pdns"
		add_kinds pdns 127.0.78.15 5405 3A weighted
		versions+=("PowerDNS $(debian pdns-server) (weighted: Lua)")
	fi
	if has named; then
		start bind 0 named -g -n 1 -U 1 -c "$c/bind/named.conf"
		add_kinds bind 127.0.0.1 5416 3A
		versions+=("BIND $(debian bind9)")
	fi
	if has "$COREDNS"; then
		GOMAXPROCS=1 start coredns 0 "$COREDNS" -conf "$c/coredns/Corefile"
		add_kinds coredns 127.0.78.17 5407 3A
		add_row coredns+cache-3A coredns 127.0.78.17 5408 gslb.test 3
		versions+=("$("$COREDNS" -version | sed -n '1s/-/ /p')")
	fi
	printf -v PEERS '%s, ' "${versions[@]}"
}

# add_kinds PROCESS ADDRESS PORT KIND…: a row for each kind of work; geo:N by networks of N bits.
add_kinds() {
	local process=$1 address=$2 port=$3 kind
	shift 3
	for kind in "$@"; do
		case $kind in
		3A) add_row "$process-3A" "$process" "$address" "$port" gslb.test 3 ;;
		weighted) add_row "$process-weighted" "$process" "$address" "$port" gslw.test 1 ;;
		geo:*) add_row "$process-geo" "$process" "$address" "$port" gslg.test 1 -G "${kind#geo:}" ;;
		esac
	done
}

# section NAME TITLE [ARGUMENT…]: measures the rows and prints their tables; the arguments are report.py's.
section() {
	local name=$1
	printf '\n### %s\n' "$2"
	shift 2
	add_echoes
	measure "$WORK/$name.tsv"
	python3 "$HERE/report.py" "$@" "$WORK/$name.tsv" || STATUS=1
	ROWS=() ECHO=()
}

peers() {
	put_registry "$MERIDIAN" /bench --geo
	start_meridian meridian 0 1 "$MERIDIAN" 2 /bench
	add_kinds meridian 127.0.78.2 5420 3A weighted geo:8
	start_peers
	section peers "Beside the peers: 1,000 names, one core, one worker" --peers
	printf '\nPeers: %s. geo of Knot: by /3, else by /8.\n' "${PEERS%, }"
	# What follows needs the core for itself.
	stop_all_but registry
}

names() {
	put_registry "$MERIDIAN" /bench-many --names "$MANY" --pools "$POOLS" --geo
	start_meridian meridian-many 0 1 "$MERIDIAN" 3 /bench-many
	add_row meridian-100k-3A meridian-many 127.0.78.3 5420 gslb.test 3 -n "$MANY"
	add_row meridian-100k-weighted meridian-many 127.0.78.3 5420 gslw.test 1 -n "$MANY" -m "$POOLS"
	add_row meridian-100k-geo meridian-many 127.0.78.3 5420 gslg.test 1 -n "$MANY" -m "$POOLS" -G 8
	section names "100,000 names a zone, at random; weighted and geo: 1,000 pools"
	stop_all_but registry
}

# The generator has a core of its own in none of these rows, so that they can be compared.
workers() {
	put_registry "$MERIDIAN" /bench --geo
	start_meridian one-worker 0,1 1 "$MERIDIAN" 4 /bench
	start_meridian two-workers 0,1 2 "$MERIDIAN" 5 /bench
	add_row meridian-1-worker-weighted one-worker 127.0.78.4 5420 gslw.test 1 -S 16
	add_row meridian-2-workers-weighted two-workers 127.0.78.5 5420 gslw.test 1 -S 16
	SHARED=1 MODES=max section workers "One worker and two on cores 0 and 1, with the generator beside them on core 1"
	stop_all_but registry
}

sockets() {
	put_registry "$MERIDIAN" /bench --geo
	start_meridian meridian 0 1 "$MERIDIAN" 2 /bench
	local n
	for n in 6 48 192; do
		add_row "meridian-$n-sockets-3A" meridian 127.0.78.2 5420 gslb.test 3 -S "$n"
		add_row "meridian-$n-sockets-weighted" meridian 127.0.78.2 5420 gslw.test 1 -S "$n"
	done
	# One query outstanding on each socket: hardly two replies of a batch go to one client.
	add_row meridian-192x1-3A meridian 127.0.78.2 5420 gslb.test 3 -S 192 -W 1
	add_row meridian-192x1-weighted meridian 127.0.78.2 5420 gslw.test 1 -S 192 -W 1
	MODES=max section sockets "Clients' sockets: how many replies go to one client"
	stop_all_but registry
}

instructions() {
	printf '\n### Instructions a query in user code, by callgrind\n\n'
	"$HERE/callgrind.sh" || STATUS=1
}

stop_all_but() {
	local name keep=$1 others=()
	for name in "${!PIDS[@]}"; do
		[ "$name" = "$keep" ] || others+=("$name")
	done
	stop "${others[@]}"
	ADDRESS=()
}

[ -x "${1:-}" ] || die "usage: peers.sh MERIDIAN"
prepare
MERIDIAN=$WORK/meridian-bin
cp "$1" "$MERIDIAN" || exit
start_registry "$MERIDIAN"
machine
for s in $SECTIONS; do
	case $s in
	peers) peers ;;
	names) names ;;
	workers) workers ;;
	sockets) sockets ;;
	instructions) instructions ;;
	*) die "SECTIONS: $s: expected peers, names, workers, sockets or instructions" ;;
	esac
done
exit $STATUS
