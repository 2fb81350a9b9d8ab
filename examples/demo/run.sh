#!/bin/sh
# Runs one cell: a name it may resolve, one it may not, the trail of both, and
# what is left of it afterwards. Every claim that it prints is checked first:
# the exit code is 0 only if all of them hold.
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
	for f in "$dir"/out "$dir"/err "$dir"/upstream "$dir"/trail "$dir"/verdict; do
		[ ! -s "$f" ] || { printf '%s:\n' "${f##*/}" >&2; indent "$f" >&2; }
	done
	exit 1
}
# expect FILE TEXT WHY fails unless the file contains the text.
expect() { grep -qF -- "$2" "$1" || fail "$3 (\"$2\" is missing)"; }
# quoted TEXT is the text for a double-quoted YAML string in a sed replacement.
quoted() { printf '%s' "$1" | sed 's/["\\]/\\&/g; s/[\\&|]/\\&/g'; }
# clean COMMAND… runs it with the settings below and no others.
clean() {
	env -i PATH="$PATH" \
		CELLOS_DEPLOYMENT_PROFILE=portable CELLOS_CELL_BACKEND=stub CELLOS_SUBPROCESS_UNSHARE=net,user \
		CELLOS_STATE_DIR="$dir/state" CELLOS_RUNTIME_DIR="$dir/run" "$@"
}

dir=$(mktemp -d "${TMPDIR:-/tmp}/cellos-demo.XXXXXX")
dir=$(cd "$dir" && pwd -P)
marker=${dir##*/}
# An interrupted build leaves its temporary files, so they are with ours.
GOTMPDIR=$dir CGO_ENABLED=0 "${GO:-go}" build -trimpath -o "$bin/demo" ./examples/demo

# The name server outside the cell, on whatever port is free.
"$bin/demo" upstream $$ >"$dir/upstream" 2>&1 &
until endpoint=$(sed -n 's/^listening //p' "$dir/upstream") && [ -n "$endpoint" ]; do
	kill -0 "$!" 2>/dev/null || fail "the name server did not start"
	sleep 0.02
done
sed -e "s|UPSTREAM|$endpoint|" -e "s|WORKLOAD|$(quoted "$bin/demo")|" -e "s|MARKER|$marker|" \
	examples/demo/cell.yaml >"$dir/cell.yaml"

title "A cell may do what its document says:"
grep -v '^#' "$dir/cell.yaml" | indent /dev/stdin

status=0
clean "$bin/cellos-supervisor" "$dir/cell.yaml" >"$dir/out" 2>"$dir/err" || status=$?
# An interrupt ended the cell; it is not a failure of the demo.
[ "$status" -lt 128 ] || exit "$status"

title "In the cell, a program asked for two names:"
indent "$dir/out"
[ "$status" = 0 ] || fail "the run ended with exit code $status, not 0"
expect "$dir/out" "api.example.com NOERROR 192.0.2.1" "the allowed name was not answered"
expect "$dir/out" "evil.example.com REFUSED" "the other name was not refused"
expect "$dir/out" "left a process behind" "the workload left nothing that could be cleaned up"

title "The supervisor said:"
indent "$dir/err"
expect "$dir/err" "dns: evil.example.com A: denied_not_in_allowlist" "the denial was not shown"
expect "$dir/err" 'add "evil.example.com" to spec.authority.dnsAuthority.hostnameAllowlist' "the remedy was not shown"

title "The name server outside was asked for:"
sed -n 's/^asked //p' "$dir/upstream" | sort -u | indent /dev/stdin
expect "$dir/upstream" "asked api.example.com" "the allowed name did not reach the name server"
! grep -qF evil.example.com "$dir/upstream" || fail "the refused name left the cell"

title "Each step and each decision is a signed event (cellos audit show):"
clean "$bin/cellos" audit show "$dir"/state/journal/runs/*.jsonl >"$dir/trail"
# The fields that say most; audit show prints them all.
awk '{
	line = sprintf("%s  %s", $2, $4)
	for (i = 5; i <= NF; i++)
		if ($i ~ /^(verdict|backend|pid|queryName|decision|reasonCode|exitCode|outcome|residueClass)=/) line = line " " $i
	print line
}' "$dir/trail" | indent /dev/stdin
grep -q 'dns_query.*decision=deny.*queryName=evil.example.com.*reasonCode=denied_not_in_allowlist' "$dir/trail" || fail "the denial is not in the trail"
grep -q 'dns_query.*decision=allow.*queryName=api.example.com' "$dir/trail" || fail "the answer is not in the trail"
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

The allowed name was answered. The refused name never left the cell.
The trail is complete and verified, and a forged one is found out.
Nothing of the cell is left.
END
