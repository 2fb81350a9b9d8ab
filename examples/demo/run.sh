#!/bin/sh
# Runs one cell: what it may reach, what it may not, the trail of both, and what
# is left of it afterwards. Every claim that it prints is checked first: the
# exit code is 0 only if all of them hold. On a host that cannot run such a cell
# it says what is missing, and ends with 1.
set -eu
cd "$(dirname "$0")/../.."
bin=$PWD/bin

dir=
cleanup() {
	trap - EXIT INT TERM HUP
	# $! and not a variable: an interrupt may come before that is set. It is
	# the name server, which has nothing to clean up.
	if [ -n "${!-}" ]; then
		kill -KILL "$!" 2>/dev/null || :
		wait "$!" 2>/dev/null || :
	fi
	[ -z "$dir" ] || rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

title() { printf '\n%s\n' "$*"; }
indent() { sed 's/^/    /' "$1"; }
fail() {
	printf '\ndemo: FAILED: %s\n' "$*" >&2
	for f in "$dir"/out "$dir"/err "$dir"/outside "$dir"/trail "$dir"/verdict; do
		[ ! -s "$f" ] || { printf '%s:\n' "${f##*/}" >&2; indent "$f" >&2; }
	done
	exit 1
}
# expect FILE TEXT WHY fails unless the file contains the text.
expect() { grep -qF -- "$2" "$1" || fail "$3 (\"$2\" is missing)"; }
# quoted TEXT is the text for a double-quoted YAML string in a sed replacement.
quoted() { printf '%s' "$1" | sed 's/["\\]/\\&/g; s/[\\&|]/\\&/g'; }
# clean COMMAND… runs it with no settings but the places of this demo: profile
# and backend are the defaults.
clean() { env -i PATH="$PATH" CELLOS_STATE_DIR="$dir/state" CELLOS_RUNTIME_DIR="$dir/run" "$@"; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/cellos-demo.XXXXXX")
dir=$(cd "$dir" && pwd -P)
marker=${dir##*/}
# An interrupted build leaves its temporary files, so they are with ours.
GOTMPDIR=$dir CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$bin/demo" ./examples/demo


if ! clean "$bin/cellos" doctor >"$dir/doctor" 2>&1; then
	printf 'demo: this host cannot run the cell of this demo (cellos doctor):\n' >&2
	indent "$dir/doctor" >&2
	exit 1
fi

# The servers outside the cell, on whatever ports are free.
"$bin/demo" outside $$ >"$dir/outside" 2>&1 &
until endpoint=$(sed -n 's/^listening //p' "$dir/outside") && [ -n "$endpoint" ]; do
	kill -0 "$!" 2>/dev/null || fail "the servers outside did not start"
	sleep 0.02
done
serving=$(sed -n 's/^serving //p' "$dir/outside")
address=${serving% *} port=${serving#* } server=api.example.com:$port
if [ -z "$serving" ]; then
	title "This host has no address but 127.0.0.1, where names never lead: the allowed name is only looked up."
	address=192.0.2.1 port=443 server=api.example.com
fi
echo "of the caller" >"$dir/private"
sed -e "s|UPSTREAM|$endpoint|" -e "s|ADDRESS|$address|" -e "s|PORT|$port|" -e "s|, api.example.com,|, \"$server\",|" \
	-e "s|PROGRAM|$(quoted "$bin/demo")|" -e "s|MARKER|$marker|" -e "s|FILE|$(quoted "$dir/private")|" \
	examples/demo/cell.yaml >"$dir/cell.yaml"

title "A cell may do what its document says:"
grep -v '^ *#' "$dir/cell.yaml" | indent /dev/stdin

status=0
clean "$bin/cellos" run "$dir/cell.yaml" >"$dir/out" 2>"$dir/err" || status=$?
# An interrupt ended the cell; it is not a failure of the demo.
[ "$status" -lt 128 ] || exit "$status"

title "In the cell, a program tried this:"
indent "$dir/out"
[ "$status" = 0 ] || fail "the run ended with exit code $status, not 0"
if [ -n "$serving" ]; then
	expect "$dir/out" "connect $server: hello from outside" "the allowed name could not be connected to"
else
	expect "$dir/out" "look up $server: 198.1" "the allowed name was not answered"
fi
expect "$dir/out" "look up evil.example.com: no such host" "the other name was not refused"
expect "$dir/out" "connect 203.0.113.9:443: connection refused" "an address that nobody declared was not refused"
expect "$dir/out" "read a file of the caller: no such file or directory" "the cell sees the host's files"
expect "$dir/out" "left a process behind" "the workload left nothing that could be cleaned up"

title "The supervisor said:"
indent "$dir/err"
expect "$dir/err" 'add "evil.example.com" to spec.authority.dnsAuthority.hostnameAllowlist' "the rule for the name was not shown"
expect "$dir/err" 'add {host: "203.0.113.9", port: 443, protocol: tcp} to spec.authority.egressRules' "the rule for the address was not shown"

title "The name server outside was asked for:"
sed -n 's/^asked //p' "$dir/outside" | sort -u | indent /dev/stdin
expect "$dir/outside" "asked api.example.com" "the allowed name did not reach the name server"
! grep -qF evil.example.com "$dir/outside" || fail "the refused name left the cell"

title "Each step and each decision is a signed event (cellos audit show):"
clean "$bin/cellos" audit show "$dir"/state/journal/runs/*.jsonl >"$dir/trail"
# The fields that say most; audit show prints them all.
awk '{
	line = sprintf("%s  %s", $2, $4)
	for (i = 5; i <= NF; i++)
		if ($i ~ /^(verdict|backend|profile|pid|queryName|boundAddress|name|destination|upstream|action|decision|reasonCode|errno|exitCode|outcome|residueClass)=/) line = line " " $i
	print line
}' "$dir/trail" | indent /dev/stdin
grep -q 'lifecycle.v1.started.*backend=native.*profile=hardened' "$dir/trail" || fail "the cell was not a native one under profile hardened"
grep -q 'dns_query.*decision=allow.*queryName=api.example.com' "$dir/trail" || fail "the answer is not in the trail"
grep -q 'dns_query.*decision=deny.*queryName=evil.example.com.*reasonCode=denied_not_in_allowlist' "$dir/trail" || fail "the refused name is not in the trail"
grep -q 'network_flow_decision.*action=deny.*destination=203.0.113.9:443' "$dir/trail" || fail "the refused connection is not in the trail"
[ -z "$serving" ] || grep -q 'network_flow_decision.*action=allow.*name=api.example.com' "$dir/trail" || fail "the connection is not in the trail"
tail -n 1 "$dir/trail" | grep -q 'evidence_bundle.*residueClass=none' || fail "the trail does not end with the proof that nothing is left"

title "Is it whole? (cellos audit verify)"
clean "$bin/cellos" audit verify >"$dir/verdict" 2>&1 || fail "the trail does not verify"
indent "$dir/verdict"
grep -qx complete "$dir/verdict" || fail "the trail is not complete"

title "And after someone turns the refusal into a permission?"
sed 's/"decision":"deny"/"decision":"allow"/' "$dir"/state/journal/runs/*.jsonl >"$dir/forged.jsonl"
status=0
clean "$bin/cellos" audit verify "$dir/forged.jsonl" >"$dir/verdict" 2>&1 || status=$?
sed "s|$dir/||" "$dir/verdict" | grep 'cellos:\|forged' | indent /dev/stdin
[ "$status" = 1 ] || fail "a forged trail gave exit code $status, not 1"

title "What is left of the cell?"
[ -z "$(ls -A "$dir/run")" ] || fail "something is left in the runtime directory"
# The brackets keep grep from finding itself.
! grep -ls "[${marker%"${marker#?}"}]${marker#?}" /proc/[0-9]*/cmdline >"$dir/verdict" || fail "a process of the cell lives"
cat <<'END'
    no process, also not the one that was left behind; no runtime directory

What was declared could be reached. What was not was refused at once, and the
refused name never left the cell. The trail is complete and verified, and a
forged one is found out. Nothing of the cell is left.
END
