# make build      bin/cellos and bin/cellos-supervisor, static
# make demo       a cell with an allowed name, a refused one and a verified trail
# make test       every test, with the packages they need installed first
# make bench      the benchmarks of BENCHMARKS.md
# make sabotage   break each promise in turn; its test must notice
# make lint       gofmt, go vet, staticcheck, govulncheck
# make gates      size, time to main and init cost of the core binaries
# make fuzz       every fuzz test for a while

GO       ?= go
VERSION  ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X cellos.io/cellos/internal/version.revision=$(VERSION)
FUZZTIME ?= 20000x

export CGO_ENABLED := 0

.PHONY: build demo test race bench sabotage lint gates fuzz setup clean

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/cellos ./cmd/cellos-supervisor

demo: build
	./examples/demo/run.sh

setup:
	./scripts/setup.sh

test: setup build
	$(GO) test -timeout 40m ./...

# The race detector needs cgo and a C compiler.
race: setup build
	CGO_ENABLED=1 $(GO) test -race -short -timeout 40m ./...

bench: setup build
	./test/bench/run.sh

sabotage: setup build
	$(GO) run ./test/sabotage

lint:
	./scripts/lint.sh

gates: build
	./scripts/gates.sh

fuzz:
	./scripts/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin
