package main

import (
	"context"
	"fmt"
	"time"
)

// measurement is one thing that is measured.
type measurement struct {
	name  string // what -only is matched with
	about string
	run   func(ctx context.Context, w *world) ([]row, error)
	slow  bool // takes many minutes: runs only if -only names it
}

// measurements are all that there are, in the order in which they run.
func measurements() []measurement {
	return []measurement{
		{name: "hit", run: hits, about: "downloads of a stored binary by 1 to 500 clients, against other servers of the same file"},
		{name: "small", run: smallAnswers, about: "304s, redirects and errors"},
		{name: "compressed", run: compressed, about: "downloads of a stored binary in the codings that clients accept"},
		{name: "resolver", run: largeRegistry, about: "a registry with 10,000 entries, against one with two"},
		{name: "store", run: manyArtifacts, about: "a store with 100,000 artifacts, against one with a single one"},
		{name: "combination", run: newCombination, about: "extensions that were not together before, against a bare link of the same program"},
		{name: "stampede", run: stampede, about: "1,000 clients that ask for one new combination at once, against one"},
		{name: "cold", run: coldMachine, slow: true, about: "a first build on a machine that never built anything"},
		{name: "platforms", run: sixPlatforms, slow: true, about: "all platforms at once on such a machine"},
	}
}

// measure runs m with servers of its own.
func (w *world) measure(ctx context.Context, m measurement) ([]row, error) {
	fmt.Fprintf(w.log, "%s: %s\n", m.name, m.about)
	began := time.Now()
	rows, err := m.run(ctx, w)
	w.stopServers()
	fmt.Fprintf(w.log, "%s: took %s\n", m.name, time.Since(began).Round(100*time.Millisecond))
	return rows, err
}
