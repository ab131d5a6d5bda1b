package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"text/tabwriter"
	"time"
)

// measurement is one thing that is measured.
type measurement struct {
	name  string // what -only is matched with
	about string
	run   func(ctx context.Context, w *world) ([]row, error)
	slow  bool // takes many minutes, unless in short: runs only if -only names it, and once if -count does not say otherwise
}

// measurements are all that there are, in the order in which they run: services that build share what is compiled.
func measurements() []measurement {
	return []measurement{
		{name: "hit", run: hits, about: "downloads of a stored binary by 1 to 500 clients, against other servers of the same file"},
		{name: "small", run: smallAnswers, about: "304s, redirects and errors"},
		{name: "compressed", run: compressed, about: "downloads of a stored binary in the codings that clients accept"},
		{name: "resolver", run: largeRegistry, about: "a registry with 10,000 entries, against one with two"},
		{name: "store", run: manyArtifacts, about: "a store with 100,000 artifacts, against one with a single one"},
		{name: "pages", run: pagesAndJSON, about: "pages and their JSON, with 100,000 results and artifacts and 10,000 extensions, against files of the same size"},
		{name: "extension", run: newExtension, about: "an extension that is compiled for the first time, against a bare compile and link"}, // before all are compiled
		{name: "combination", run: newCombination, about: "extensions that were not together before, against a bare link of the same program, go build, xk6 and k6build"},
		{name: "neighbours", run: neighbours, about: "a combination for a client that has another one: as the difference, with zstd and as it is, by lines of 10 to 1,000 Mbit/s"},
		{name: "stampede", run: stampede, about: "1,000 clients that ask for one new combination at once, against one"},
		{name: "worker", run: byWorkers, about: "a combination that a worker builds, against the same one built in the service"},
		{name: "cold", run: coldMachine, slow: true, about: "a first build where nothing was ever built, with a shared build cache (in a directory here) and without"},
		{name: "platforms", run: sixPlatforms, slow: true, about: "six platforms at once where nothing was ever built"},
	}
}

// choose returns the measurements to run: those that match, or those that take no time.
func choose(only string, short bool) ([]measurement, error) {
	pattern, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	return slices.DeleteFunc(measurements(), func(m measurement) bool {
		return !pattern.MatchString(m.name) || m.slow && only == "" && !short
	}), nil
}

// printList writes what there is.
func printList(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, m := range measurements() {
		about := m.about
		if m.slow {
			about += " (many minutes: only if -only names it, or in -short)"
		}
		fmt.Fprintf(table, "%s\t%s\n", m.name, about)
	}
	return table.Flush()
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
