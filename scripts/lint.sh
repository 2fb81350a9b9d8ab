#!/bin/sh
# gofmt, go vet, staticcheck and, where its database can be reached, govulncheck.
set -eu
GO=${GO:-go}
STATICCHECK=honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK=golang.org/x/vuln/cmd/govulncheck@v1.9.0

unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
	echo "lint: gofmt would change:" >&2
	echo "$unformatted" >&2
	exit 1
fi
$GO mod tidy -diff >/dev/null || {
	echo "lint: go.mod is not tidy: run go mod tidy" >&2
	exit 1
}
$GO vet ./...
GOOS=darwin $GO build -o /dev/null ./cell ./plan ./policy ./event
$GO run "$STATICCHECK" ./...

# A finding fails the run; a database that cannot be reached is said, not hidden.
out=$(mktemp)
trap 'rm -f "$out"' EXIT
if timeout 300 $GO run "$GOVULNCHECK" ./... >"$out" 2>&1; then
	tail -n 3 "$out"
elif grep -qE 'fetching vulnerabilities|vuln\.go\.dev|dial tcp|no such host|connection refused' "$out"; then
	echo "lint: govulncheck could not reach its database; not checked"
else
	cat "$out" >&2
	exit 1
fi
