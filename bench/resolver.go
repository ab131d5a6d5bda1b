package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rogpeppe/go-internal/goproxytest"

	"k6x"
	"k6x/resolver"
)

// largeRegistry measures a resolver whose registry has many entries, against one that has a few. The
// modules that are resolved are the same ones, from a module proxy in this process.
func largeRegistry(ctx context.Context, w *world) ([]row, error) {
	modules, err := goproxytest.NewServer(filepath.Join(w.source, "testdata", "standin"), "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer modules.Close()
	counts := []int{2, pick(w, 10_000, 1000)}
	load, resolve, permit, memory := map[int][]float64{}, map[int][]float64{}, map[int][]float64{}, map[int][]float64{}
	err = rounds(w, counts, func(n int) error {
		registry, err := w.registryOf(n)
		if err != nil {
			return err
		}
		own, err := w.temp("resolver")
		if err != nil {
			return err
		}
		before := heap()
		began := time.Now()
		r, err := resolver.New(ctx, resolver.Config{Registries: []string{registry}, Dir: own,
			Env: append(os.Environ(), "GOPROXY="+modules.URL, "GOSUMDB=off")})
		if err != nil {
			return err
		}
		load[n] = append(load[n], ms(time.Since(began)))
		memory[n] = append(memory[n], (heap()-before)/1e6)
		open, err := k6x.ParseList("k6,k6/x/hello")
		if err != nil {
			return err
		}
		if _, err := r.Resolve(ctx, open); err != nil { // fetches
			return err
		}
		const times = 2000
		began = time.Now()
		for range times {
			if _, err := r.Resolve(ctx, open); err != nil {
				return err
			}
		}
		resolve[n] = append(resolve[n], 1e3*ms(time.Since(began))/times)
		began = time.Now()
		for range times {
			if err := r.Permit(open); err != nil {
				return err
			}
		}
		permit[n] = append(permit[n], 1e3*ms(time.Since(began))/times)
		runtime.KeepAlive(r)
		return nil
	})
	name := func(n int) string { return plural(n, "entry") }
	var rows []row
	for _, n := range counts {
		rows = append(rows, row{Case: "load", Subject: name(n), Unit: "ms", Samples: load[n]},
			row{Case: "resolve, once its files are here", Subject: name(n), Unit: "µs", Samples: resolve[n], Reference: name(counts[0])},
			row{Case: "check the rules for a hit", Subject: name(n), Unit: "µs", Samples: permit[n], Reference: name(counts[0])},
			row{Case: "memory", Subject: name(n), Unit: "MB", Samples: memory[n]})
	}
	return rows, err
}

// heap returns the bytes that are in use.
func heap() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// registryOf writes a registry of n entries, of which two can be resolved.
func (w *world) registryOf(n int) (string, error) {
	entries := []map[string]any{
		{"module": "go.k6.io/k6", "description": "k6 itself", "tier": "official", "imports": []string{"k6"}},
		{"module": "example.com/xk6-hello", "description": "says hello", "tier": "official", "imports": []string{"k6/x/hello"}},
	}
	for i := len(entries); i < n; i++ {
		entries = append(entries, map[string]any{
			"module": fmt.Sprintf("bench.example/xk6-of-%d", i), "description": "one of many, described in a few words", "tier": "community",
			"imports": []string{fmt.Sprintf("k6/x/of-%d", i)}, "versions": []string{"v0.1.0", "v0.2.0", "v1.0.0"},
			"repo": map[string]any{"owner": "bench", "name": fmt.Sprintf("xk6-of-%d", i), "stars": i % 500, "license": "MIT"},
		})
	}
	data, err := json.Marshal(entries)
	if err != nil {
		return "", err
	}
	name := filepath.Join(w.dir, fmt.Sprintf("registry-%d.json", n))
	return name, os.WriteFile(name, data, 0o644)
}
