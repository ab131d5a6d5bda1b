package main

import (
	"context"
	"strconv"
)

// stampede measures what many clients that ask for one new combination at once wait, against one client.
func stampede(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	s, err := w.warm(ctx, b, true)
	if err != nil {
		return nil, err
	}
	many := pick(w, 1000, 100)
	first := func(clients int) (outcome, error) {
		c, err := b.fresh()
		if err != nil {
			return outcome{}, err
		}
		w.settle(ctx)
		return ask(ctx, s, "HEAD", c.path, clients)
	}
	var alone, slowest, quickest []float64
	for range w.count {
		one, err := first(1)
		if err != nil {
			return nil, err
		}
		alone = append(alone, one.quantile(1).Seconds())
		all, err := first(many)
		if err != nil {
			return nil, err
		}
		slowest, quickest = append(slowest, all.quantile(1).Seconds()), append(quickest, all.quantile(0).Seconds())
	}
	const name = "until the answer begins"
	return append([]row{
		{Case: name, Subject: "1 client", Unit: "s", Samples: alone},
		{Case: name, Subject: "quickest of " + strconv.Itoa(many), Unit: "s", Samples: quickest, Reference: "1 client"},
		{Case: name, Subject: "slowest of " + strconv.Itoa(many), Unit: "s", Samples: slowest, Reference: "1 client"},
	}, s.memoryRows("k6x")...), nil
}
