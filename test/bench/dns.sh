#!/bin/sh
# Queries per second of the cell resolver beside dnsmasq, in one run: refused,
# cached and forwarded, over UDP on the loopback of a network namespace of its
# own. Load generator, server and upstream share the machine's cores.
#
# usage: test/bench/dns.sh [SECONDS]      needs root, dnsperf, dnsmasq, ip
set -eu

if [ "${CELLOS_BENCH_INSIDE:-}" = "" ]; then
	self=$(readlink -f "$0")
	cd "$(dirname "$self")/../.."
	for tool in go dnsperf dnsmasq ip unshare; do
		command -v $tool >/dev/null || { echo "dns.sh: $tool is not installed" >&2; exit 1; }
	done
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	CGO_ENABLED=0 go test -c -o "$dir/dnsproxy.test" ./egress/dnsproxy
	CELLOS_BENCH_INSIDE=$dir unshare -n sh "$self" "$@"
	exit
fi

dir=$CELLOS_BENCH_INSIDE
seconds=${1:-5}
ip link set lo up

# Each server lives as long as the pipe that it reads.
mkfifo "$dir/upstream.in" "$dir/proxy.in"
CELLOS_DNS_BENCH="upstream 127.0.0.1:5300" "$dir/dnsproxy.test" <"$dir/upstream.in" &
exec 8>"$dir/upstream.in"
CELLOS_DNS_BENCH="proxy 127.0.0.1:5301 127.0.0.1:5300" "$dir/dnsproxy.test" <"$dir/proxy.in" >"$dir/proxy.out" 8>&- &
proxy=$!
exec 9>"$dir/proxy.in"
dnsmasq --conf-file=/dev/null --keep-in-foreground --user=root --pid-file= --no-resolv --no-hosts \
	--listen-address=127.0.0.1 --bind-interfaces --port=5302 --cache-size=10000 --dns-forward-max=4096 \
	--server=/cached.example/127.0.0.1#5300 --server=/forwarded.example/127.0.0.1#5300 8>&- 9>&- &
dnsmasq=$!
trap 'kill $dnsmasq 2>/dev/null || :' EXIT

awk 'BEGIN { for (i = 0; i < 1000; i++) print "n" i ".refused.test A" }' >"$dir/refused"
awk 'BEGIN { for (i = 0; i < 1000; i++) print "n" i ".cached.example A" }' >"$dir/cached"
awk 'BEGIN { for (i = 0; i < 200000; i++) print "n" i ".forwarded.example A" }' >"$dir/forwarded"

# Until both answer: dnsperf's own patience is the wait.
for port in 5301 5302; do
	tries=0
	until dnsperf -s 127.0.0.1 -p $port -d "$dir/cached" -n 1 -t 1 2>/dev/null | grep -q 'Queries lost: *0 '; do
		tries=$((tries + 1))
		[ $tries -lt 20 ] || { echo "dns.sh: nothing answers on port $port" >&2; exit 1; }
	done
done

printf '%-10s %12s %9s %12s %9s\n' '' 'cellos q/s' 'lost' 'dnsmasq q/s' 'lost'
for what in refused cached forwarded; do
	printf '%-10s' $what
	for port in 5301 5302; do
		dnsperf -s 127.0.0.1 -p $port -d "$dir/$what" -l "$seconds" -q 200 -c 4 -T 1 >"$dir/out" 2>/dev/null
		awk '/Queries lost:/ { lost = $3 } /Queries per second:/ { q = $4 } END { printf " %12.0f %9d", q, lost }' "$dir/out"
	done
	echo
done
exec 9>&- 8>&-
wait $proxy
cat "$dir/proxy.out"
