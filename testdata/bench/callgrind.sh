#!/bin/bash
# callgrind.sh [BENCHMARK…]: instructions a query, as a Markdown table: a figure that no neighbour moves.
#
# Each benchmark of package server (name, then what b.Run calls it, apart by slashes) runs under callgrind with few and
# with many queries; the difference is what the queries took, without start-up. The kernel's part is not in it.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- BenchmarkBatch/{static,weighted,geo}/1000
FEW=3200 MANY=35200
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
${GO:-go} test -c -o "$work/server.test" ./server

# instructions BENCHMARK QUERIES. valgrind cannot bear the signals by which Go preempts; collections would come at random.
instructions() {
	GODEBUG=asyncpreemptoff=1 GOGC=off valgrind --tool=callgrind --callgrind-out-file=/dev/null "$work/server.test" \
		-test.run='^$' -test.bench="^${1//\//\$\/^}\$" -test.cpu 1 -test.benchtime="$2x" >"$work/out" 2>&1
	grep -q "^$1" "$work/out" || { echo "callgrind.sh: $1: no such benchmark in server" >&2; return 1; }
	awk '/Collected/ { print $NF }' "$work/out"
}

echo '| benchmark | instructions/q |'
echo '| --- | --- |'
for benchmark; do
	few=$(instructions "$benchmark" $FEW)
	many=$(instructions "$benchmark" $MANY)
	echo "| $benchmark | $(((many - few) / (MANY - FEW))) |"
done
