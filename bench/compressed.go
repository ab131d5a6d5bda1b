package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
)

// compressed measures downloads by one client that decodes what it is sent, here without a network
// in between. The binary is k6x itself, in short a part of it.
func compressed(ctx context.Context, w *world) ([]row, error) {
	cacheDir, err := w.temp("cache")
	if err != nil {
		return nil, err
	}
	self, err := os.ReadFile(w.k6x)
	if err != nil {
		return nil, err
	}
	self = self[:min(len(self), pick(w, len(self), 16<<20))]
	registry, err := fillFrom(ctx, cacheDir, bytes.NewReader(self))
	if err != nil {
		return nil, err
	}
	s, err := w.service(cacheDir, registry, "--compress", "zstd,gzip")
	if err != nil {
		return nil, err
	}
	const plain = "identity"
	sizes, took := map[string]int64{}, map[string][]float64{}
	codings := []string{plain, "gzip", "zstd"}
	var rows []row
	for _, coding := range codings[1:] {
		began := time.Now()
		for ctx.Err() == nil {
			got, n, err := download(ctx, s, coding)
			if err != nil {
				return nil, err
			}
			if sizes[coding] = n; got == coding {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		rows = append(rows, row{Case: "until it is made", Subject: coding, Unit: "s", Samples: []float64{time.Since(began).Seconds()}})
	}
	err = rounds(w, codings, func(coding string) error {
		began := time.Now()
		got, n, err := download(ctx, s, coding)
		took[coding] = append(took[coding], ms(time.Since(began)))
		sizes[coding] = n
		if err == nil && got != coding && (coding != plain || got != "") {
			return fmt.Errorf("asked for in %s, it comes in %q", coding, got)
		}
		return err
	})
	for _, coding := range codings {
		rows = append(rows, row{Case: "on the wire", Subject: coding, Unit: "MB", Samples: []float64{float64(sizes[coding]) / 1e6}, Reference: plain},
			row{Case: "download and decode", Subject: coding, Unit: "ms", Samples: took[coding], Reference: plain})
	}
	return rows, err
}

// download gets the binary, decodes it to nowhere, and returns its coding and how many bytes came.
func download(ctx context.Context, s *server, accept string) (coding string, size int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+recipe(0).Path(), nil)
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Accept-Encoding", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, errors.New("a download of what is stored answers " + resp.Status)
	}
	var body io.Reader = resp.Body
	switch coding = resp.Header.Get("Content-Encoding"); coding {
	case "gzip":
		if body, err = gzip.NewReader(resp.Body); err != nil {
			return "", 0, err
		}
	case "zstd":
		decoder, err := zstd.NewReader(resp.Body)
		if err != nil {
			return "", 0, err
		}
		defer decoder.Close()
		body = decoder
	}
	_, err = io.Copy(io.Discard, body)
	return coding, resp.ContentLength, err
}
