package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"k6x/history"
)

// pagesAndJSON measures pages and their JSON at a service that has a store with many artifacts, as many results of builds and a large registry,
// against files of the same size.
func pagesAndJSON(ctx context.Context, w *world) ([]row, error) {
	results := pick(w, 100_000, 500)
	cacheDir, err := w.temp("cache")
	if err != nil {
		return nil, err
	}
	if _, err := fill(ctx, cacheDir, pick(w, 100_000, 500), 1000); err != nil {
		return nil, err
	}
	if err := remember(filepath.Join(cacheDir, "history", "history", "segments"), results); err != nil {
		return nil, err
	}
	registry, err := w.registryOf(pick(w, 10_000, 500))
	if err != nil {
		return nil, err
	}
	service, err := w.service(cacheDir, registry)
	if err != nil {
		return nil, err
	}
	files, err := w.temp("pages")
	if err != nil {
		return nil, err
	}
	static, err := w.files(files)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, path := range []string{"/", "/?q=ext99&sort=stars", "/builds", "/matrix", "/status", "/changes", "/help", "/extensions", "/builds.json", "/status.json"} {
		const accept = "Accept: text/html"
		name := fmt.Sprintf("page-%d", len(rows))
		body, err := fetch(ctx, "http://"+service.addr+path)
		if err != nil {
			return rows, err
		}
		if err := os.WriteFile(filepath.Join(files, name), body, 0o600); err != nil {
			return rows, err
		}
		subjects := []subject{{name: "k6x", addr: service.addr, path: path}, {name: netHTTP, addr: static.addr, path: "/" + name}}
		more, err := rates(ctx, w, fmt.Sprintf("GET %s (%d kB)", path, len(body)/1000), subjects, func(s subject) (load, error) {
			return load{addr: s.addr, paths: []string{s.path}, headers: []string{accept}, clients: 4, requests: pick(w, 400, 20), status: http.StatusOK, size: -1}, nil
		})
		if rows = append(rows, more...); err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// fetch returns a page.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/html")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return body, err
}

// remember writes results of builds as a journal keeps them, in whole segments.
func remember(dir string, n int) error {
	const perSegment = 256
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	began := time.Now().Add(-time.Hour).UTC()
	for first := 1; first <= n; first += perSegment {
		var segment bytes.Buffer
		lines := json.NewEncoder(&segment)
		for i := first; i < first+perSegment; i++ {
			r := recipe(i)
			result := &history.Result{
				ID: uuid.NewString(), Path: r.Path(), Key: r.Key(), Platform: r.Platform.String(), Toolchain: r.Toolchain, Service: "bench", Begun: began, Ended: began,
				Modules: []history.Module{{Name: "k6", Version: "v1.8.1"}, {Name: fmt.Sprintf("k6/x/of-%d", i%10_000), Version: "v1.0.0"}},
				Steps:   []history.Step{{Name: "compiling", Seconds: history.Seconds(time.Second), Done: 700}}, Outcome: history.Built, Digest: r.Key(), Size: 1000,
			}
			if i%10 == 0 {
				result.Outcome, result.Kind, result.Error = history.Failed, "build_failed", "it does not compile"
			}
			data, err := json.Marshal(history.Entry{Type: history.Build, Result: result})
			if err == nil {
				err = lines.Encode(map[string]any{"number": i, "time": began, "id": uuid.NewString(), "data": json.RawMessage(data)})
			}
			if err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%012d", first)), segment.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
