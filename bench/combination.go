package main

import (
	"context"
	"errors"
	"strconv"
)

// bareLink is the subject that first requests are compared with.
const bareLink = "bare link"

// newCombination measures first requests for combinations of extensions that were each compiled before,
// against the bare link of the very same programs, and requests for what was built then.
func newCombination(ctx context.Context, w *world) (rows []row, err error) {
	b, err := w.newBuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer b.modules.Close()
	s, cacheDir, err := w.build(ctx, b, false)
	if err != nil {
		return nil, err
	}
	var first, links, again []float64
	for n := 1; n <= w.count; n++ {
		if n == b.combinations() {
			return nil, errors.New("there are not as many combinations: -count " + strconv.Itoa(n-1))
		}
		path, modules := b.path(n)
		settle(ctx)
		seconds, err := took(func() error { _, err := ask(ctx, s, "GET", path, 1); return err })
		if err != nil {
			return nil, err
		}
		first = append(first, seconds)
		link, err := w.linkCommand(ctx, b, cacheDir, modules)
		if err != nil {
			return nil, err
		}
		settle(ctx)
		if seconds, err = took(link); err != nil {
			return nil, err
		}
		links = append(links, seconds)
		if seconds, err = took(func() error { _, err := ask(ctx, s, "GET", path, 1); return err }); err != nil {
			return nil, err
		}
		again = append(again, seconds)
	}
	return []row{
		{Case: "first request", Subject: "k6x", Unit: "s", Samples: first, Reference: bareLink},
		{Case: "first request", Subject: bareLink, Unit: "s", Samples: links},
		{Case: "second request", Subject: "k6x", Unit: "s", Samples: again},
		{Case: "peak memory without children", Subject: "k6x", Unit: "MB", Samples: []float64{s.peak()}},
	}, nil
}

// stampede measures what many clients that ask for one new combination at once wait, against one client.
func stampede(ctx context.Context, w *world) ([]row, error) {
	b, err := w.newBuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer b.modules.Close()
	s, _, err := w.build(ctx, b, false)
	if err != nil {
		return nil, err
	}
	many := pick(w, 1000, 100)
	alone, slowest, quickest := []float64{}, []float64{}, []float64{}
	for round := range w.count {
		n := 1 + 2*round
		if n+1 >= b.combinations() {
			break
		}
		settle(ctx)
		path, _ := b.path(n)
		o, err := ask(ctx, s, "HEAD", path, 1)
		if err != nil {
			return nil, err
		}
		alone = append(alone, o.quantile(1).Seconds())
		settle(ctx)
		path, _ = b.path(n + 1)
		if o, err = ask(ctx, s, "HEAD", path, many); err != nil {
			return nil, err
		}
		slowest, quickest = append(slowest, o.quantile(1).Seconds()), append(quickest, o.quantile(0).Seconds())
	}
	return []row{
		{Case: "until the answer begins", Subject: "1 client", Unit: "s", Samples: alone},
		{Case: "until the answer begins", Subject: "quickest of " + strconv.Itoa(many), Unit: "s", Samples: quickest, Reference: "1 client"},
		{Case: "until the answer begins", Subject: "slowest of " + strconv.Itoa(many), Unit: "s", Samples: slowest, Reference: "1 client"},
		{Case: "peak memory without children", Subject: "k6x", Unit: "MB", Samples: []float64{s.peak()}},
	}, nil
}
