package main

import (
	"context"
	"strings"

	"k6x"
)

// coldMachine measures a first request where nothing was ever built.
func coldMachine(ctx context.Context, w *world) ([]row, error) {
	b, err := w.newBuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer b.modules.Close()
	path, _ := b.path(1)
	var seconds []float64
	for range w.count {
		s, _, err := w.build(ctx, b, true)
		if err != nil {
			return nil, err
		}
		o, err := ask(ctx, s, "HEAD", path, 1)
		if err != nil {
			return nil, err
		}
		seconds = append(seconds, o.elapsed.Seconds())
		s.stop()
	}
	return []row{{Case: "first request", Subject: "without a shared build cache", Unit: "s", Samples: seconds}}, nil
}

// sixPlatforms measures first requests for all platforms at once where nothing was ever built.
func sixPlatforms(ctx context.Context, w *world) ([]row, error) {
	b, err := w.newBuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer b.modules.Close()
	s, _, err := w.build(ctx, b, true)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, p := range k6x.DefaultPlatforms() {
		path, _ := b.path(1)
		paths = append(paths, strings.Replace(path, host().String(), p.String(), 1))
	}
	o, err := load{addr: s.addr, method: "HEAD", paths: paths, clients: len(paths), requests: len(paths), status: 200, size: -1}.run(ctx)
	return []row{
		{Case: "all asked for at once", Subject: "the last", Unit: "s", Samples: []float64{o.elapsed.Seconds()}},
		{Case: "peak memory without children", Subject: "k6x", Unit: "MB", Samples: []float64{s.peak()}},
	}, err
}
