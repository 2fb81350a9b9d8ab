#!/bin/sh
# Runs every fuzz test for the given time (default 10s).
set -eu
GO=${GO:-go}
time=${1:-10s}
for file in $(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do
	dir=$(dirname "$file")
	for fn in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "fuzz: $dir $fn"
		$GO test -run '^$' -fuzz "^$fn\$" -fuzztime "$time" -timeout 5m "./$dir"
	done
done
