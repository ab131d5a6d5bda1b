package main

import (
	"context"
	"os"
	"path/filepath"
)

// subject is one of the servers that are compared, and what it calls the same bytes.
type subject struct {
	name, addr, path string
	server           *server
}

// netHTTP is the subject that the others are compared with.
const netHTTP = "net/http"

// serversOf starts all servers of one stored file of size bytes.
func serversOf(ctx context.Context, w *world, size int64) ([]subject, error) {
	cacheDir, err := w.temp("cache")
	if err != nil {
		return nil, err
	}
	registry, err := fill(ctx, cacheDir, 1, size)
	if err != nil {
		return nil, err
	}
	files, err := w.temp("files")
	if err != nil {
		return nil, err
	}
	if err := os.Link(binaryOf(cacheDir, recipe(0)), filepath.Join(files, "k6")); err != nil {
		return nil, err
	}
	var all []subject
	for _, s := range []struct {
		name, path string
		start      func() (*server, error)
	}{
		{"k6x", recipe(0).Path(), func() (*server, error) { return w.service(cacheDir, registry) }},
		{netHTTP, "/k6", func() (*server, error) { return w.files(files) }},
		{"nginx", "/k6", func() (*server, error) { return w.nginx(files) }},
		{"caddy", "/k6", func() (*server, error) { return w.caddy(files) }},
	} {
		server, err := s.start()
		if err != nil {
			return nil, err
		}
		if server != nil {
			all = append(all, subject{s.name, server.addr, s.path, server})
		}
	}
	return all, nil
}

// hits measures downloads of a stored binary.
func hits(ctx context.Context, w *world) ([]row, error) {
	size := pick[int64](w, 50<<20, 5<<20)
	subjects, err := serversOf(ctx, w, size)
	if err != nil {
		return nil, err
	}
	var rows []row
	err = rounds(w, subjects, func(s subject) error { // the first download of all is nobody's figure
		_, err := load{addr: s.addr, paths: []string{s.path}, clients: 1, requests: 1, status: 200, size: size}.run(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, clients := range []int{1, 10, 50, 500} {
		rates, p50, p99 := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
		err := rounds(w, subjects, func(s subject) error {
			requests := max(pick(w, 20, 4), clients)
			o, err := load{addr: s.addr, paths: []string{s.path}, clients: clients, requests: requests, status: 200, size: size}.run(ctx)
			if err != nil {
				return err
			}
			rates[s.name] = append(rates[s.name], float64(o.bytes)/1e6/o.elapsed.Seconds())
			p50[s.name] = append(p50[s.name], o.quantile(.5).Seconds()*1e3)
			p99[s.name] = append(p99[s.name], o.quantile(.99).Seconds()*1e3)
			return nil
		})
		if err != nil {
			return rows, err
		}
		name := plural(clients, "client")
		for _, s := range subjects {
			rows = append(rows, row{Case: name, Subject: s.name, Unit: "MB/s", Samples: rates[s.name], Reference: netHTTP})
		}
		for _, s := range subjects {
			rows = append(rows, row{Case: name, Subject: s.name, Unit: "ms p50", Samples: p50[s.name], Reference: netHTTP},
				row{Case: name, Subject: s.name, Unit: "ms p99", Samples: p99[s.name], Reference: netHTTP})
		}
	}
	for _, s := range subjects[:2] { // the others have processes that work for them
		rows = append(rows, row{Case: "peak memory", Subject: s.name, Unit: "MB", Samples: []float64{s.server.peak()}},
			row{Case: "memory at the end, without the pages of the program's file", Subject: s.name, Unit: "MB", Samples: []float64{s.server.anonymous()}})
	}
	return rows, nil
}
