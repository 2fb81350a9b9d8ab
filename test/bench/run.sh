#!/bin/sh
# The figures of BENCHMARKS.md. Compare figures of one run with each other: the
# machine is whatever it is today.
set -eu
cd "$(dirname "$0")/../.."
GO=${GO:-go}
seconds=${SECONDS_PER_CASE:-5}

section() { printf '\n== %s ==\n' "$1"; }
bench() { # bench PACKAGE PATTERN [FLAGS…]
	pkg=$1 pattern=$2
	shift 2
	$GO test -run '^$' -bench "$pattern" "$@" "$pkg" | grep -E '^(Benchmark|cpu:)'
}

section "sign and append (goal: at least 20000 events/s on one core)"
bench ./journal '^BenchmarkEmit$' -cpu 1
section "verify a trail of 100000 events"
bench ./event '^BenchmarkVerify100k$' -benchtime 3x
section "a repeated decision, counted"
bench ./journal '^BenchmarkObserveRepeat$'
section "read a document"
bench ./cell '^Benchmark(Parse|SpecHash)$'
section "a whole run of true, stub backend"
bench ./test/e2e '^BenchmarkRunTrue$' -benchtime 100x
section "a whole run of true, native backend, beside bubblewrap"
bench ./test/e2e '^BenchmarkNativeTrue$' -benchtime 100x
if [ "$(id -u)" = 0 ]; then
	section "resolver beside dnsmasq (goals: 85000 refused, 60000 forwarded)"
	./test/bench/dns.sh "$seconds"
else
	section "resolver beside dnsmasq: skipped, needs root"
fi
