#!/bin/sh
# The limits that keep starting a cell cheap: size of the core binaries, time
# from exec to main, and the sum of package initialisation.
set -eu
max_bytes=$((12 * 1024 * 1024))
max_init_us=4000
max_start_ms=15

fail=0
for bin in bin/cellos bin/cellos-supervisor; do
	bytes=$(wc -c <"$bin")
	if ldd "$bin" >/dev/null 2>&1; then
		echo "gates: $bin is not static" >&2; fail=1
	fi
	# The best of several runs: a noisy machine makes runs slower, never faster.
	init=999999999
	start=999999999
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		us=$(GODEBUG=inittrace=1 "$bin" --version 2>&1 >/dev/null | awk '/^init /{s += $5} END{printf "%d", s * 1000}')
		[ "$us" -lt "$init" ] && init=$us
		t0=$(date +%s%N); "$bin" --version >/dev/null; t1=$(date +%s%N)
		ms=$(((t1 - t0) / 10000))
		[ "$ms" -lt "$start" ] && start=$ms
	done
	printf 'gates: %s: %d bytes (max %d), init %d us (max %d), start to exit %d.%02d ms (max %d)\n' \
		"$bin" "$bytes" "$max_bytes" "$init" "$max_init_us" $((start / 100)) $((start % 100)) "$max_start_ms"
	[ "$bytes" -le "$max_bytes" ] || { echo "gates: $bin is too large" >&2; fail=1; }
	[ "$init" -le "$max_init_us" ] || { echo "gates: $bin: initialisation takes too long" >&2; fail=1; }
	[ "$start" -le $((max_start_ms * 100)) ] || { echo "gates: $bin: starts too slowly" >&2; fail=1; }
done
exit $fail
