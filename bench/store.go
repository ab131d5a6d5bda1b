package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"k6x/cache/dir"
)

// manyArtifacts measures what a store with many artifacts costs, against one with a single one.
func manyArtifacts(ctx context.Context, w *world) ([]row, error) {
	const size = 1000
	many := pick(w, 100_000, 2000)
	var rows []row
	var subjects []subject
	var paths [][]string
	var dirs []string
	for _, n := range []int{1, many} {
		name := plural(n, "artifact")
		cacheDir, err := w.temp("cache")
		if err != nil {
			return rows, err
		}
		registry, err := fill(ctx, cacheDir, n, size)
		if err != nil {
			return rows, err
		}
		opened, err := opening(w, storeIn(cacheDir), n)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{Case: "open the store", Subject: name, Unit: "ms", Samples: opened})
		began := time.Now()
		server, err := w.service(cacheDir, registry)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{Case: "start of the service", Subject: name, Unit: "ms", Samples: []float64{ms(time.Since(began))}},
			row{Case: "memory after the start", Subject: name, Unit: "MB", Samples: []float64{server.resident()}})
		subjects = append(subjects, subject{name: name, addr: server.addr, server: server})
		all := make([]string, n)
		for i := range all {
			all[i] = recipe(i).Path()
		}
		paths, dirs = append(paths, all), append(dirs, storeIn(cacheDir))
	}
	first := subjects[0].name
	for _, which := range []string{"hit of one path", "hit of all paths in turn"} {
		p50, p99 := map[string][]float64{}, map[string][]float64{}
		err := rounds(w, []int{0, 1}, func(i int) error {
			s, asked := subjects[i], paths[i]
			if which == "hit of one path" {
				asked = asked[:1]
			}
			o, err := load{addr: s.addr, paths: asked, clients: 1, requests: pick(w, max(5000, len(asked)/w.count), 200), status: 200, size: size}.run(ctx)
			if err != nil {
				return err
			}
			p50[s.name] = append(p50[s.name], ms(o.quantile(.5)))
			p99[s.name] = append(p99[s.name], ms(o.quantile(.99)))
			return nil
		})
		if err != nil {
			return rows, err
		}
		for _, s := range subjects {
			rows = append(rows, row{Case: which, Subject: s.name, Unit: "ms p50", Samples: p50[s.name], Reference: first},
				row{Case: which, Subject: s.name, Unit: "ms p99", Samples: p99[s.name], Reference: first})
		}
	}
	for i, s := range subjects {
		rows = append(rows, row{Case: "peak memory", Subject: s.name, Unit: "MB", Samples: []float64{s.server.peak()}})
		s.server.stop()
		evicted, err := evicting(ctx, w, dirs[i], len(paths[i]), size)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{Case: "put that evicts one", Subject: s.name, Unit: "ms", Samples: evicted})
	}
	return rows, nil
}

// opening measures how long it takes to open a store of n artifacts.
func opening(w *world, directory string, n int) (took []float64, err error) {
	for range w.count {
		began := time.Now()
		store, err := dir.Open(dir.Config{Dir: directory})
		if err != nil {
			return nil, err
		}
		took = append(took, ms(time.Since(began)))
		found := store.Stats().Artifacts
		if err := store.Close(); err != nil || found != n {
			return nil, fmt.Errorf("a store of %d artifacts has %d: %w", n, found, err)
		}
	}
	return took, nil
}

// evicting measures how long it takes to put one more into a full store of n artifacts.
func evicting(ctx context.Context, w *world, directory string, n int, size int64) (took []float64, err error) {
	store, err := dir.Open(dir.Config{Dir: directory})
	if err != nil {
		return nil, err
	}
	full := store.Stats().Bytes
	if err := store.Close(); err != nil {
		return nil, err
	}
	if store, err = dir.Open(dir.Config{Dir: directory, Size: full + full/2/int64(n)}); err != nil {
		return nil, err
	}
	defer store.Close()
	for round := range w.count {
		before := store.Stats().Evictions
		began := time.Now()
		if err := put(ctx, store, n+round, io.LimitReader(rand.NewChaCha8([32]byte{1}), size)); err != nil {
			return nil, err
		}
		took = append(took, ms(time.Since(began)))
		if store.Stats().Evictions == before {
			return nil, fmt.Errorf("nothing was evicted from a full store of %d artifacts", n)
		}
	}
	return took, nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1e3 }
