#!/bin/sh
# The limits that keep starting a cell cheap: size of the core binaries, time
# from the start of the runtime to main, and the sum of package initialisation.
#
# A busy machine makes runs slower, never faster. So each limit is for the best
# of several runs (of each package's initialisation, its own best), and more
# runs are made, up to a bound, while one is exceeded.
set -eu
max_bytes=$((12 * 1024 * 1024))
max_init_us=4000
max_main_us=12000
few=10
many=200

trace=$(mktemp)
trap 'rm -f "$trace"' EXIT

# measure prints the shortest time to main, and the sum over all packages of
# their shortest initialisation, in microseconds. A line of the trace is
# "init PACKAGE @0.1 ms, 0.02 ms clock, …"; main follows the last of a run.
measure() {
	awk '/^init / { if (!($2 in best) || $5 < best[$2]) best[$2] = $5; at = substr($3, 2) + $5 }
		/^end$/ { if (!seen++ || at < main) main = at }
		END { for (p in best) sum += best[p]; printf "%d %d", main * 1000, sum * 1000 }' "$trace"
}

fail=0
exceeded() { echo "gates: $*" >&2; fail=1; }
for bin in bin/cellos bin/cellos-supervisor; do
	if ldd "$bin" >/dev/null 2>&1; then
		exceeded "$bin is not static"
	fi
	bytes=$(wc -c <"$bin")
	: >"$trace"
	n=0
	while [ $n -lt $few ] || { [ $n -lt $many ] && { [ "$main" -gt $max_main_us ] || [ "$init" -gt $max_init_us ]; }; }; do
		n=$((n + 1))
		GODEBUG=inittrace=1 "$bin" --version 2>>"$trace" >/dev/null
		echo end >>"$trace"
		measured=$(measure)
		main=${measured% *}
		init=${measured#* }
	done
	printf 'gates: %s: %d bytes (max %d), time to main %d us (max %d), init %d us (max %d), best of %d\n' \
		"$bin" "$bytes" "$max_bytes" "$main" "$max_main_us" "$init" "$max_init_us" "$n"
	[ "$bytes" -le $max_bytes ] || exceeded "$bin is too large"
	[ "$main" -le $max_main_us ] || exceeded "$bin: main begins too late"
	[ "$init" -le $max_init_us ] || exceeded "$bin: initialisation takes too long: see GODEBUG=inittrace=1 $bin --version"
done
exit $fail
