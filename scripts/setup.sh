#!/bin/sh
# Installs what the tests and benchmarks call and this machine lacks.
# Debian only, and only as root; elsewhere it says what is missing.
set -eu

missing=""
need() { # need PROGRAM PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH=$PATH:/usr/sbin:/sbin
need strace strace
need python3 python3-minimal
need unshare util-linux
need ip iproute2
need dnsperf dnsperf
need dnsmasq dnsmasq-base
need gcc gcc
need bwrap bubblewrap
need nft nftables
need openssl openssl
need nsenter util-linux
[ -x /usr/bin/python3 ] || missing="$missing python3-minimal"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "setup: installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "setup: not root on Debian; tests that need these packages will be skipped:$missing" >&2
fi
