#!/bin/sh
# Runs every fuzz test for the given time, or number of inputs if that ends in
# x (default 20000x). A number cannot end in the middle of an input, which go
# test sometimes reports as "context deadline exceeded" on a busy machine.
set -eu
GO=${GO:-go}
time=${1:-20000x}
for file in $(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do
	dir=$(dirname "$file")
	for fn in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "fuzz: $dir $fn"
		$GO test -run '^$' -fuzz "^$fn\$" -fuzztime "$time" -timeout 5m "./$dir"
	done
done
