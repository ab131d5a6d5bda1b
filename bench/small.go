package main

import (
	"context"
	"net/http"
	"strings"
)

// smallAnswers measures answers without a body to speak of: who has the binary already, and
// who is told where it is.
func smallAnswers(ctx context.Context, w *world) ([]row, error) {
	subjects, err := serversOf(ctx, w, 1<<20)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, clients := range []int{1, 50} {
		l := load{clients: clients, requests: pick(w, max(5000, 400*clients), 500), status: http.StatusNotModified}
		unchanged, err := rates(ctx, w, "304, "+plural(clients, "client"), subjects, func(s subject) (load, error) {
			l.addr, l.paths = s.addr, []string{s.path}
			tag, err := etag(ctx, s)
			l.headers = []string{tag}
			return l, err
		})
		if err != nil {
			return rows, err
		}
		rows = append(rows, unchanged...)
		l.headers = nil
		for _, c := range []struct {
			name, path string
			status     int
		}{
			{"301", "/linux/amd64/k6/x/it@0.0.0,k6@1.8.1", http.StatusMovedPermanently},
			{"404", "/linux/amd64/k6@v1.8.1,k6/x/none@v1.0.0", http.StatusNotFound},
		} {
			l.paths, l.status, l.size = []string{c.path}, c.status, -1
			moved, err := rates(ctx, w, c.name+", "+plural(clients, "client"), subjects[:1], func(s subject) (load, error) {
				l.addr = s.addr
				return l, nil
			})
			if err != nil {
				return rows, err
			}
			rows = append(rows, moved...)
		}
	}
	return rows, nil
}

// rates measures how many requests a second each subject answers, and how long the slowest
// hundredth of them takes.
func rates(ctx context.Context, w *world, name string, subjects []subject, of func(subject) (load, error)) ([]row, error) {
	rates, p99 := map[string][]float64{}, map[string][]float64{}
	err := rounds(w, subjects, func(s subject) error {
		l, err := of(s)
		if err != nil {
			return err
		}
		o, err := l.run(ctx)
		if err != nil {
			return err
		}
		rates[s.name] = append(rates[s.name], float64(len(o.took))/o.elapsed.Seconds())
		p99[s.name] = append(p99[s.name], o.quantile(.99).Seconds()*1e3)
		return nil
	})
	var rows []row
	for _, s := range subjects {
		rows = append(rows, row{Case: name, Subject: s.name, Unit: "requests/s", Samples: rates[s.name], Reference: netHTTP},
			row{Case: name, Subject: s.name, Unit: "ms p99", Samples: p99[s.name], Reference: netHTTP})
	}
	return rows, err
}

// etag returns the header with which a subject says that its binary has not changed.
func etag(ctx context.Context, s subject) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, "http://"+s.addr+s.path, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if tag := resp.Header.Get("Etag"); tag != "" {
		return "If-None-Match: " + tag, nil
	}
	return "If-Modified-Since: " + strings.TrimSpace(resp.Header.Get("Last-Modified")), nil
}
