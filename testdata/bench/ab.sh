#!/bin/bash
# ab.sh OLD NEW: two meridian binaries beside the echo, in interleaved rounds, with the ratio of NEW to OLD.
#
#   ROUNDS=15 SECONDS_EACH=0.4 MODES='max ecs 20k' ONLY='weighted' testdata/bench/ab.sh /tmp/old bin/meridian
#
# NAMES (1000) and POOLS (as many) say what is in the registry; GEO=1 measures the geo row too.
set -u
# A session of its own, which the scheduler weighs as one.
if [ -z "${BENCH_SESSION:-}" ]; then
	export BENCH_SESSION=1
	exec setsid -w "$0" "$@"
fi
NAMES=${NAMES:-1000} POOLS=${POOLS:-${NAMES:-1000}}
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[[ -x ${1:-} && -x ${2:-} ]] || die "usage: ab.sh OLD NEW: two meridian binaries"
prepare
# Copies, so that either may be built anew meanwhile.
cp "$1" "$WORK/meridian-old" && cp "$2" "$WORK/meridian-new" || exit
start_registry "$WORK/meridian-new"
put_registry "$WORK/meridian-new" /bench --names "$NAMES" --pools "$POOLS" ${GEO:+--geo}
number=2
for which in old new; do
	start_meridian $which 0 1 "$WORK/meridian-$which" $number /bench
	address=127.0.78.$number
	add_row "3A-$which" $which $address 5420 gslb.test 3 -n "$NAMES"
	add_row "weighted-$which" $which $address 5420 gslw.test 1 -n "$NAMES" -m "$POOLS"
	[ -z "${GEO:-}" ] || add_row "geo-$which" $which $address 5420 gslg.test 1 -n "$NAMES" -m "$POOLS" -G 8
	number=$((number + 1))
done
add_echoes
measure "$WORK/ab.tsv"
python3 "$HERE/report.py" --pair old new "$WORK/ab.tsv"
