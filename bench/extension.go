package main

import (
	"context"
	"fmt"
	"os"
)

// newExtension measures first requests for an extension that was never compiled, with k6 and another extension that were,
// against what the compiler and the linker take for that alone. The service downloads the extension's modules first, which
// counts, from a module proxy that is near for most of them.
func newExtension(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	s, err := w.warm(ctx, b, false)
	if err != nil {
		return nil, err
	}
	caches := cachesOf(b.cacheDir)
	// What is downloaded and compiled in a copy, the service has neither.
	for _, dir := range []*string{&caches.builds, &caches.modules} {
		service := *dir
		if *dir, err = w.temp("copy"); err != nil {
			return nil, err
		}
		if err := os.CopyFS(*dir, os.DirFS(service)); err != nil {
			return nil, fmt.Errorf("copy Go's caches: %w", err)
		}
	}
	const bare = "bare compile and link"
	var first, sums, compiles, links []float64
	for i := 1; i < len(b.extensions) && i <= w.count; i++ {
		n := 1 | 1<<i
		c := b.combination(n)
		p, err := w.newProgram(ctx, b, caches, c)
		if err != nil {
			return nil, err
		}
		w.settle(ctx)
		seconds, err := askFor(ctx, s, c)
		if err != nil {
			return nil, err
		}
		b.built[n] = true
		if err := learned(ctx, b.cacheDir); err != nil {
			return nil, err
		}
		link, compile, packages, err := p.bare(ctx)
		if err == nil && packages == 0 {
			err = fmt.Errorf("%s was compiled before", b.extensions[i].module)
		}
		if err != nil {
			return nil, err
		}
		w.settle(ctx)
		linked, err := took(link)
		if err != nil {
			return nil, err
		}
		compiled, err := took(compile)
		if err != nil {
			return nil, err
		}
		first, sums, compiles, links = append(first, seconds), append(sums, linked+compiled), append(compiles, compiled), append(links, linked)
		fmt.Fprintf(w.log, "extension: %s, %s: %.2f s, bare %.2f s\n", b.extensions[i].module, plural(packages, "package"), seconds, linked+compiled)
	}
	return append([]row{
		{Case: "first request", Subject: "k6x", Unit: "s", Samples: first, Reference: bare},
		{Case: "first request", Subject: bare, Unit: "s", Samples: sums},
		{Case: "part of that", Subject: "bare compile", Unit: "s", Samples: compiles},
		{Case: "part of that", Subject: bareLink, Unit: "s", Samples: links},
	}, s.memoryRows("k6x")...), nil
}
