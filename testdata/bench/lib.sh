# shellcheck shell=bash
# What ab.sh and peers.sh have in common. Loopback only: servers on core 0, the generator on core 1.
#
# A row is "label process address port zone answers flags": what is asked of whom, and what else the generator is told.
# With every row goes an echo whose replies are as long, measured in the same rounds. From the environment: ROUNDS,
# SECONDS_EACH (of one sample), MODES, ONLY (a regular expression of labels), BENCH_DIR.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOP=$(realpath "$HERE/../..")
WORK=${BENCH_DIR:-$TOP/.run}/bench
ROUNDS=${ROUNDS:-15} SECONDS_EACH=${SECONDS_EACH:-0.4} MODES=${MODES:-max ecs 20k}
PATH=$PATH:/usr/sbin
ROWS=()
declare -A PIDS=() ADDRESS=() ECHO=() OURS=()

# Ours may be scheduled before what else runs here, where that is allowed.
NICE=()
[ "$(nice -n -15 nice 2>/dev/null)" = -15 ] && NICE=(nice -n -15)

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

prepare() {
	[ "$(nproc)" -ge 2 ] || die "one core: a server and a generator need one each"
	rm -rf "$WORK"
	mkdir -p "$WORK/log"
	gcc -O3 -march=native -Wall -Wextra -o "$WORK/echo" "$HERE/echo.c" || exit
	gcc -O3 -march=native -Wall -Wextra -o "$WORK/lg" "$HERE"/{lg,query,cost}.c -lm || exit
	sysctl -qw net.core.rmem_max=16777216 net.core.wmem_max=16777216 2>/dev/null
	# A scheduler that groups sessions would weigh ours as one among others.
	{ echo -19 >/proc/self/autogroup; } 2>/dev/null
	trap stop_all EXIT
	trap 'exit 130' INT TERM
}

# start NAME CORES COMMAND…: its output goes to a log, its id to PIDS.
start() {
	local name=$1 cores=$2
	shift 2
	taskset -c "$cores" "${NICE[@]}" "$@" >"$WORK/log/$name" 2>&1 &
	PIDS[$name]=$!
}

# descendants PID: it and all below it, separated by commas.
descendants() {
	local all=$1 child
	# shellcheck disable=SC2013 # a line holds several
	for child in $(cat "/proc/$1/task/"*/children 2>/dev/null); do
		all+=,$(descendants "$child")
	done
	echo "$all"
}

# stop NAME…: ends these processes and all below them.
stop() {
	local name all pids=()
	for name in "$@"; do
		IFS=, read -ra all <<<"$(descendants "${PIDS[$name]}")"
		pids+=("${all[@]}")
		unset "PIDS[$name]"
	done
	[ ${#pids[@]} -gt 0 ] || return 0
	kill "${pids[@]}" 2>/dev/null
	for _ in {1..30}; do
		kill -0 "${pids[@]}" 2>/dev/null || break
		sleep 0.1
	done
	kill -9 "${pids[@]}" 2>/dev/null
	wait "${pids[@]}" 2>/dev/null
}

stop_all() {
	stop "${!PIDS[@]}"
}

# wait_for NAME SECONDS COMMAND…: until it succeeds; not longer than the process NAME runs.
wait_for() {
	local name=$1 deadline=$((SECONDS + $2))
	shift 2
	until "$@" >/dev/null 2>&1; do
		kill -0 "${PIDS[$name]}" 2>/dev/null || die "$name has ended: $(tail -n 1 "$WORK/log/$name")"
		[ $SECONDS -lt $deadline ] || die "$name does not come up: $(tail -n 1 "$WORK/log/$name")"
		sleep 0.1
	done
}

# The registry that every meridian follows: an etcd on the generator's core, so that none of its work counts.
ETCD=127.0.78.1:5479
start_registry() {
	start registry 1 "$1" serve --dns-listen 127.0.78.1:5419 --dns-workers 1 --http-listen 127.0.78.1:5459 \
		--etcd-listen $ETCD --data-dir "$WORK/registry" --etcd-prefix /unused --server-name registry
	wait_for registry 30 ready 127.0.78.1:5459
}

# put_registry MERIDIAN PREFIX ARGUMENT…: the manifest that manifest.py makes of the arguments.
put_registry() {
	local meridian=$1 prefix=$2
	shift 2
	python3 "$HERE/manifest.py" "$@" >"$WORK/manifest.json" || exit
	"$meridian" apply --etcd-endpoints $ETCD --etcd-prefix "$prefix" "$WORK/manifest.json" >"$WORK/log/apply" 2>&1 ||
		die "apply: $(tail -n 3 "$WORK/log/apply")"
}

# ready HOST:PORT: whether /readyz there says so.
ready() {
	local line
	exec 3<>"/dev/tcp/${1%:*}/${1#*:}" || return
	printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
	read -r line <&3
	exec 3>&-
	[[ $line == *" 200 "* ]]
}

# start_meridian NAME CORES WORKERS MERIDIAN NUMBER PREFIX: on 127.0.78.NUMBER:5420, ready when it returns.
start_meridian() {
	local name=$1 cores=$2 workers=$3 meridian=$4 address=127.0.78.$5 prefix=$6
	GOMAXPROCS=$((workers + 1)) start "$name" "$cores" "$meridian" serve --dns-listen "$address:5420" \
		--dns-workers "$workers" --http-listen "$address:5460" --etcd-endpoints $ETCD --etcd-prefix "$prefix" \
		--data-dir "$WORK/$name" --server-name "$name"
	OURS[$name]=1
	wait_for "$name" 120 ready "$address:5460"
}

# add_row LABEL PROCESS ADDRESS PORT ZONE ANSWERS FLAG…: unless ONLY excludes it.
add_row() {
	[[ ! $1 =~ ${ONLY:-} ]] || ROWS+=("$*")
}

# generate MODE FLAG…: runs the generator.
generate() {
	local mode=$1
	shift
	case $mode in
	max) [ -n "${SHARED:-}" ] || set -- "$@" -u 0.2 ;;
	ecs) set -- "$@" -u 0.2 -c ;;
	20k) set -- "$@" -r 20000 -x ;;
	*) die "MODES: $mode: expected max, ecs or 20k" ;;
	esac
	taskset -c 1 "${NICE[@]}" "$WORK/lg" "$@"
}

# growth MODE ADDRESS PORT ZONE ANSWERS FLAG…: how many bytes a reply is longer than its query; fails without replies.
growth() {
	local mode=$1 address=$2 port=$3 zone=$4 answers=$5
	shift 5
	for _ in {1..10}; do
		generate "$mode" -s "$address" -p "$port" -z "$zone" -a "$answers" "$@" -d 0.05 -w 0 -k |
			awk -F '\t' '$2 > 0 { print $18; found = 1 } END { exit !found }' && return
	done
	return 1
}

# answers ROW: whether it does.
answers() {
	local address port zone count flags
	read -r _ _ address port zone count flags <<<"$1"
	# shellcheck disable=SC2086 # flags are several words
	growth max "$address" "$port" "$zone" "$count" $flags
}

# add_echoes: for each reply size that a row of ours has in a mode an echo, and a row of it. ECHO says which: none where
# a peer's replies are of another size. Ours come first among the rows.
add_echoes() {
	local row mode label process address port zone count flags grow name beside echoes=()
	for row in "${ROWS[@]}"; do
		read -r label process address port zone count flags <<<"$row"
		wait_for "$process" 30 answers "$row"
		# What the generator does beside differs between echoes as it does between rows.
		beside=
		[[ ! $flags =~ -[nS]\ [0-9]+(\ -W\ [0-9]+)? ]] || beside=${BASH_REMATCH[0]}
		for mode in $MODES; do
			# shellcheck disable=SC2086 # flags are several words
			grow=$(growth "$mode" "$address" "$port" "$zone" "$count" $flags) || die "$label: no right answer in mode $mode"
			name=echo+$grow${beside:+,${beside// /}}
			if [ -z "${ECHO[$name.$mode]:-}" ] && [ -z "${OURS[$process]:-}" ]; then
				name=-
			elif [ -z "${ECHO[$name.$mode]:-}" ]; then
				[ -n "${PIDS[echo+$grow]:-}" ] || start_echo "echo+$grow" "$grow"
				ECHO[$name.$mode]=$name
				[[ " ${echoes[*]} " == *" $name echo"* ]] ||
					echoes+=("$name echo+$grow ${ADDRESS[echo+$grow]} 5430 gslb.test -1 -E $beside")
			fi
			ECHO[$label.$mode]=$name
		done
	done
	ROWS=("${echoes[@]}" "${ROWS[@]}")
}

start_echo() {
	ADDRESS[$1]=127.0.78.$((30 + ${#ADDRESS[@]}))
	start "$1" 0 "$WORK/echo" "${ADDRESS[$1]}" 5430 32 "$2"
}

# sample ROUND MODE LABEL PROCESS FLAG…: one line of a table. It is taken again where other work took one of the cores,
# and left out after some tries; unless SHARED, where they are shared anyway.
sample() {
	local round=$1 mode=$2 label=$3 process=$4 line pids
	shift 4
	pids=$(descendants "${PIDS[$process]}")
	for _ in {1..5}; do
		line=$(generate "$mode" "$@" -d "$SECONDS_EACH" -w 0.15 -P "$pids" -k -l "$label") || die "lg: $label"
		# Columns 5, 15, 16: how busy core 0 was, how much of core 1 the generator had, how much the server ran, in percent.
		if [ -n "${SHARED:-}" ] || awk -F '\t' '{ exit !($15 >= 96 && $5 - $16 < 5) }' <<<"$line"; then
			printf '%d\t%s\t%s\t%s\n' "$round" "$mode" "${ECHO[$label.$mode]}" "$line"
			return
		fi
	done
	echo "$label, $mode, round $round: left out, other work took a core" >&2
}

# measure FILE: all rows in rounds; every other round backwards, so that no row profits from its place.
measure() {
	local round i order label process address port zone count flags mode
	: >"$1"
	for ((round = 1; round <= ROUNDS; round++)); do
		mapfile -t order < <(printf '%s\n' "${!ROWS[@]}" | if ((round % 2)); then cat; else tac; fi)
		for i in "${order[@]}"; do
			read -r label process address port zone count flags <<<"${ROWS[i]}"
			for mode in $MODES; do
				# An echo runs in the modes in which a row has its size.
				[ -n "${ECHO[$label.$mode]:-}" ] || continue
				# shellcheck disable=SC2086 # flags are several words
				sample "$round" "$mode" "$label" "$process" \
					-s "$address" -p "$port" -z "$zone" -a "$count" $flags >>"$1"
			done
		done
		[ ! -t 2 ] || printf '\rround %d of %d' "$round" "$ROUNDS" >&2
	done
	[ ! -t 2 ] || echo >&2
}
