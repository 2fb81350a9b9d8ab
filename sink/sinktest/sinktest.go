// Package sinktest is the conformance suite of sinks: what package sink
// promises, checked. A provider needs a harness of a few lines:
//
//	sinktest.Run(t, func(t *testing.T) sinktest.Harness { … })
package sinktest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"cellos.io/cellos/sink"
)

// A Harness is one provider with a receiver that the suite can look into.
type Harness interface {
	// Open returns a new sink to the same receiver.
	Open(t *testing.T) sink.Sink
	// Records returns what the receiver has, in its order. Each record has
	// its newline.
	Records(t *testing.T) [][]byte
	// Break makes writes fail from now on, and reports false if it cannot.
	Break(t *testing.T) bool
}

// Run runs the suite, with a new harness for each test.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"order":          testOrder,
		"bytes are kept": testBytes,
		"slice is not":   testSlice,
		"concurrent":     testConcurrent,
		"two sinks":      testTwo,
		"after close":    testClose,
		"broken":         testBroken,
		"name":           testName,
	} {
		t.Run(name, func(t *testing.T) { test(t, newHarness(t)) })
	}
}

func write(t *testing.T, s sink.Sink, record string) {
	t.Helper()
	if err := s.Write([]byte(record)); err != nil {
		t.Fatalf("write %.40q: %v", record, err)
	}
}

func want(t *testing.T, h Harness, records ...string) {
	t.Helper()
	var got []string
	for _, r := range h.Records(t) {
		got = append(got, string(r))
	}
	if !slices.Equal(got, records) {
		t.Errorf("the receiver has %.200q\nwant %.200q", got, records)
	}
}

func testOrder(t *testing.T, h Harness) {
	s := h.Open(t)
	defer s.Close()
	var records []string
	for i := range 100 {
		records = append(records, fmt.Sprintf("{\"n\":%d}\n", i))
		write(t, s, records[i])
	}
	want(t, h, records...)
}

func testBytes(t *testing.T, h Harness) {
	s := h.Open(t)
	defer s.Close()
	records := []string{"{}\n", "{\"s\":\"\\u0000 é \U0001f600\"}\n", "{\"s\":\"" + strings.Repeat("x", 1<<20-20) + "\"}\n"}
	for _, r := range records {
		write(t, s, r)
	}
	want(t, h, records...)
}

// A caller reuses its buffer.
func testSlice(t *testing.T, h Harness) {
	s := h.Open(t)
	defer s.Close()
	buf := []byte("{\"a\":1}\n")
	if err := s.Write(buf); err != nil {
		t.Fatal(err)
	}
	copy(buf, "XXXXXXX")
	want(t, h, "{\"a\":1}\n")
}

func testConcurrent(t *testing.T, h Harness) {
	s := h.Open(t)
	defer s.Close()
	const workers, each = 8, 50
	together(t, workers, each, func(int) sink.Sink { return s })
	checkTogether(t, h, workers, each)
}

// Two sinks to one receiver stand for two processes.
func testTwo(t *testing.T, h Harness) {
	a, b := h.Open(t), h.Open(t)
	defer a.Close()
	defer b.Close()
	const workers, each = 4, 50
	together(t, workers, each, func(w int) sink.Sink { return []sink.Sink{a, b}[w%2] })
	checkTogether(t, h, workers, each)
}

func together(t *testing.T, workers, each int, of func(int) sink.Sink) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				record := fmt.Sprintf("{\"w\":%d,\"i\":%d,\"pad\":\"%s\"}\n", w, i, strings.Repeat("p", 97*w))
				if err := of(w).Write([]byte(record)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// checkTogether checks that every record is whole and those of each writer are
// in order.
func checkTogether(t *testing.T, h Harness, workers, each int) {
	t.Helper()
	next := make([]int, workers)
	for _, r := range h.Records(t) {
		var w, i int
		if _, err := fmt.Sscanf(string(r), "{\"w\":%d,\"i\":%d,", &w, &i); err != nil || !bytes.HasSuffix(r, []byte("\"}\n")) {
			t.Fatalf("not a record: %.80q", r)
		}
		if i != next[w] {
			t.Fatalf("writer %d: record %d, want %d", w, i, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: %d records, want %d", w, n, each)
		}
	}
}

func testClose(t *testing.T, h Harness) {
	s := h.Open(t)
	write(t, s, "{}\n")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Write([]byte("{}\n")); err == nil {
		t.Error("wrote after Close")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	want(t, h, "{}\n")
}

func testBroken(t *testing.T, h Harness) {
	s := h.Open(t)
	defer s.Close()
	write(t, s, "{}\n")
	if !h.Break(t) {
		t.Skip("the harness cannot break its receiver")
	}
	err := s.Write([]byte("{\"lost\":true}\n"))
	if err == nil {
		t.Fatal("no error")
	}
	if !strings.Contains(err.Error(), s.Name()) {
		t.Errorf("%q does not name the sink %q", err, s.Name())
	}
}

func testName(t *testing.T, h Harness) {
	s := h.Open(t)
	defer s.Close()
	if s.Name() == "" || strings.ContainsAny(s.Name(), "\n\x00") {
		t.Errorf("%q", s.Name())
	}
}
