#!/bin/sh
# The relay beside no relay and beside one of a few lines of Go, in one run:
# throughput, connect, first byte, connections a second. Client, relay and
# server share the machine's cores; the client of the cell asks another process
# for each of its sockets, which its connect figures include.
#
# usage: test/bench/relay.sh [COUNT]      best as root, on a machine that rests
set -eu
cd "$(dirname "$(readlink -f "$0")")/../.."
exec go test -run '^$' -bench '^BenchmarkRelay' -benchtime 2s -count "${1:-1}" ./egress
