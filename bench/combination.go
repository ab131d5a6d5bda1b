package main

import "context"

// bareLink is the subject that first requests are compared with.
const bareLink = "bare link"

// sandboxOff is the subject that shows what the sandbox costs.
const sandboxOff = "k6x --sandbox off"

// unconfined starts a service that builds without a sandbox from the same caches, and has built something.
func (w *world) unconfined(ctx context.Context, b *building) (*server, error) {
	store, err := w.temp("store")
	if err != nil {
		return nil, err
	}
	s, err := w.build(b, b.cacheDir, "--sandbox", "off", "--store", "file://"+store)
	if err != nil {
		return nil, err
	}
	c, err := b.fresh()
	if err != nil {
		return nil, err
	}
	if _, err := ask(ctx, s, "GET", c.path, 1); err != nil {
		return nil, err
	}
	return s, learned(ctx, b.cacheDir)
}

// contender makes the binary of a combination and returns the seconds that it took.
type contender struct {
	name string
	make func(c combination) (float64, error)
}

// newCombination measures first requests for combinations of extensions that were each compiled before,
// against the bare link of the very same programs, one go build, and what is on PATH; and requests for what was built then. A second
// service, which has a store of its own, does without a sandbox.
func newCombination(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	s, err := w.warm(ctx, b, true)
	if err != nil {
		return nil, err
	}
	free, err := w.unconfined(ctx, b)
	if err != nil {
		return nil, err
	}
	peers, err := w.peers(ctx, b)
	if err != nil {
		return nil, err
	}
	var again []float64
	contenders := []contender{
		{"k6x", func(c combination) (float64, error) {
			seconds, err := askFor(ctx, s, c)
			if err != nil {
				return 0, err
			}
			second, err := askFor(ctx, s, c)
			again = append(again, second)
			return seconds, err
		}},
		{sandboxOff, func(c combination) (float64, error) { return askFor(ctx, free, c) }},
		{bareLink, func(c combination) (float64, error) {
			p, err := w.newProgram(ctx, b, cachesOf(b.cacheDir), c)
			if err != nil {
				return 0, err
			}
			link, _, _, err := p.bare(ctx)
			if err != nil {
				return 0, err
			}
			w.settle(ctx)
			return took(link)
		}},
		{"go build", func(c combination) (float64, error) {
			p, err := w.newProgram(ctx, b, cachesOf(b.cacheDir), c)
			if err != nil {
				return 0, err
			}
			w.settle(ctx)
			return took(func() error { _, err := p.build(ctx); return err })
		}},
	}
	for _, p := range peers {
		contenders = append(contenders, contender{p.name, func(c combination) (float64, error) { return p.build(ctx, w, c) }})
	}
	all := make([]combination, w.count)
	for i := range all {
		if all[i], err = b.fresh(); err != nil {
			return nil, err
		}
	}
	samples := map[string][]float64{}
	err = rounds(w, contenders, func(c contender) error {
		w.settle(ctx)
		seconds, err := c.make(all[len(samples[c.name])])
		samples[c.name] = append(samples[c.name], seconds)
		return err
	})
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, c := range contenders {
		rows = append(rows, row{Case: "first request", Subject: c.name, Unit: "s", Samples: samples[c.name], Reference: bareLink})
	}
	rows = append(rows, row{Case: "sandbox", Subject: "k6x", Unit: "s", Samples: samples["k6x"], Reference: sandboxOff},
		row{Case: "sandbox", Subject: sandboxOff, Unit: "s", Samples: samples[sandboxOff]})
	rows = append(rows, row{Case: "second request", Subject: "k6x", Unit: "s", Samples: again})
	return append(rows, s.memoryRows("k6x")...), nil
}
