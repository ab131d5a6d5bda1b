package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k6x"
)

// coldMachine measures a first request where nothing was ever built nor downloaded: by a service that shares its build cache,
// by one that has none to share, and by one that finds what the first has left. What is shared is in a directory here.
func coldMachine(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	const cold = "without a shared build cache"
	subjects := []string{"that fills a shared build cache", cold, "with a filled shared build cache"}
	seconds, alone, children := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	var sizes []float64
	for range w.count {
		shared, err := w.temp("shared")
		if err != nil {
			return nil, err
		}
		for i, name := range subjects {
			args := [][]string{{"--build-cache", fileURL(shared)}, nil, {"--build-cache", fileURL(shared), "--build-cache-read-only"}}[i]
			c, err := w.coldStart(ctx, b, args...)
			if err != nil {
				return nil, err
			}
			seconds[name] = append(seconds[name], c.seconds)
			alone[name], children[name] = append(alone[name], c.alone), append(children[name], c.children)
		}
		size, err := sizeOf(shared)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
	}
	var rows []row
	for _, name := range subjects {
		rows = append(rows, row{Case: "first request", Subject: name, Unit: "s", Samples: seconds[name], Reference: cold})
		rows = append(rows, peakRows(name, alone[name], children[name])...)
	}
	return append(rows, row{Case: "shared build cache", Subject: "k6x", Unit: "MB", Samples: sizes}), nil
}

// start is what the first request of a service came to, and the most memory of that, in MB.
type start struct{ seconds, alone, children float64 }

// coldStart has a service in a new directory answer one request.
func (w *world) coldStart(ctx context.Context, b *building, args ...string) (start, error) {
	dir, err := w.temp("cold")
	if err != nil {
		return start{}, err
	}
	s, err := w.build(b, dir, args...)
	if err != nil {
		return start{}, err
	}
	w.settle(ctx)
	seconds, err := askFor(ctx, s, b.combination(1))
	if err != nil {
		return start{}, err
	}
	c := start{seconds, s.peak(), s.peakWithChildren()}
	if err := learned(ctx, dir); err != nil {
		return start{}, err
	}
	s.stopWithin(time.Minute) // it may have to send what it compiled
	return c, nil             // the directory stays until the end: a file system that removes is slow to create for a while
}

// fileURL returns the URL of a directory.
func fileURL(dir string) string {
	path := filepath.ToSlash(dir)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

// sizeOf returns what the files below a directory have, in MB.
func sizeOf(dir string) (float64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return float64(sum) / 1e6, err
}

// sixPlatforms measures first requests for all platforms at once where nothing was ever built, in short for two.
func sixPlatforms(ctx context.Context, w *world) ([]row, error) {
	b, err := w.building(ctx)
	if err != nil {
		return nil, err
	}
	platforms := k6x.DefaultPlatforms()
	if w.short { // each compiles the standard library
		platforms = platforms[:2]
	}
	paths := make([]string, len(platforms))
	for i, p := range platforms {
		paths[i] = strings.Replace(b.combination(1).path, host().String(), p.String(), 1)
	}
	var firsts, lasts, alone, children []float64
	for range w.count {
		dir, err := w.temp("cold")
		if err != nil {
			return nil, err
		}
		s, err := w.build(b, dir)
		if err != nil {
			return nil, err
		}
		o, err := load{addr: s.addr, method: "HEAD", paths: paths, clients: len(paths), requests: len(paths), status: 200, size: -1, limit: buildLimit}.run(ctx)
		if err != nil {
			return nil, err
		}
		firsts, lasts = append(firsts, o.quantile(0).Seconds()), append(lasts, o.quantile(1).Seconds())
		alone, children = append(alone, s.peak()), append(children, s.peakWithChildren())
		s.stop()
	}
	name := plural(len(paths), "platform")
	return append([]row{
		{Case: name + " at once", Subject: "the first", Unit: "s", Samples: firsts},
		{Case: name + " at once", Subject: "the last", Unit: "s", Samples: lasts, Reference: "the first"},
	}, peakRows("k6x", alone, children)...), nil
}
