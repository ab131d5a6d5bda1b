package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

// byWorkers measures what it costs that another machine builds: first requests for combinations of extensions that were each compiled before, to a
// service that has them built by a worker, and to one that builds them itself. The worker is a process here, so that its line is no part of it.
func byWorkers(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	if !b.built[b.combinations()] {
		if _, err := w.warm(ctx, b, true); err != nil {
			return nil, err
		}
	}
	const here, there = "in the service", "by a worker"
	services := make(map[string]*server)
	for _, name := range []string{here, there} { // each with a store of its own, in which is nothing
		store, err := w.temp("store")
		if err != nil {
			return nil, err
		}
		args, token := []string{"--store", fileURL(store)}, filepath.Join(store, "token")
		if name == there {
			if err := os.WriteFile(token, []byte("token\n"), 0o600); err != nil {
				return nil, err
			}
			args = append(args, "--workers", "--worker-token-file", token, "--build-here=false")
		}
		s, err := w.build(b, b.cacheDir, args...)
		if err != nil {
			return nil, err
		}
		services[name] = s
		if name == there {
			cmd := exec.Command(w.k6x, "worker", "http://"+s.addr, "--token-file", token, "--name", "w1", "--cache-dir", b.cacheDir)
			cmd.Env = b.env
			if _, err := w.start(s.addr, cmd); err != nil {
				return nil, err
			}
		}
		if _, err := askFor(ctx, s, b.combination(b.combinations())); err != nil {
			return nil, err
		}
	}
	samples := make(map[string][]float64)
	err = rounds(w, []string{here, there}, func(name string) error {
		w.settle(ctx)
		seconds, err := askFor(ctx, services[name], b.combination(1+len(samples[name])%(b.combinations()-1)))
		samples[name] = append(samples[name], seconds)
		return err
	})
	return []row{
		{Case: "first request", Subject: there, Unit: "s", Samples: samples[there], Reference: here},
		{Case: "first request", Subject: here, Unit: "s", Samples: samples[here]},
	}, err
}
