package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"time"

	"k6x"
)

// maxBinary bounds a download, in bytes.
const maxBinary = 1 << 30

// download fetches the binary into the file name, checks it, and makes it executable. What
// breaks off is resumed. If it fails, the file is as it was before.
func (c *client) download(ctx context.Context, a artifact, name string, shown *bar) error {
	file, err := createOutput(name)
	if err != nil {
		return err
	}
	defer file.discard()
	in := &incoming{file: file, hash: sha256.New(), shown: shown}
	if err := c.retry(ctx, func() error { return c.fetch(ctx, a.URL, in) }); err != nil {
		return err
	}
	if got := hex.EncodeToString(in.hash.Sum(nil)); got != a.Checksum {
		return k6x.Errorf(k6x.Unavailable, "the binary at %s has the checksum %s, but it should have %s", a.URL, got, a.Checksum).
			WithHint("It was changed on its way, or the service is at fault. Nothing was written.")
	}
	return file.commit()
}

// incoming is what has come of a download so far.
type incoming struct {
	file  *output
	hash  hash.Hash
	size  int64
	etag  string
	shown *bar
}

func (in *incoming) Write(p []byte) (int, error) {
	if in.size+int64(len(p)) > maxBinary {
		return 0, k6x.Errorf(k6x.Unavailable, "the binary is larger than %d MiB", maxBinary>>20)
	}
	n, err := in.file.Write(p)
	in.hash.Write(p[:n])
	in.size += int64(n)
	if err != nil {
		err = notWritten(in.file.name, err)
	}
	return n, err
}

// restart forgets what has come.
func (in *incoming) restart() error {
	in.hash.Reset()
	in.size = 0
	err := in.file.Truncate(0)
	if err == nil {
		_, err = in.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return notWritten(in.file.name, err)
	}
	return nil
}

// fetch requests what is missing, once.
func (c *client) fetch(ctx context.Context, location string, in *incoming) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(c.stall, cancel)
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity") // ranges are of the bytes as they are
	if in.size > 0 && in.etag != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", in.size))
		req.Header.Set("If-Range", in.etag)
	} else if err := in.restart(); err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(req.URL.Host, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		err = in.restart()
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", in.size)) {
			in.etag = "" // the next try takes it from the start
			return &temporary{err: k6x.Errorf(k6x.Unavailable, "%s sends another part of the binary than was asked for", req.URL.Host)}
		}
	case http.StatusRequestedRangeNotSatisfiable:
		in.etag = ""
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "%s has less of the binary than it had before", req.URL.Host)}
	default:
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // only words for the error
		return refused(resp, "", body)
	}
	if err != nil {
		return err
	}
	in.etag = ""
	if tag := resp.Header.Get("Etag"); strings.HasPrefix(tag, `"`) {
		in.etag = tag
	}
	return c.receive(in, resp, watch)
}

// receive copies a body to where it goes.
func (c *client) receive(in *incoming, resp *http.Response, watch *time.Timer) error {
	total := int64(0)
	if resp.ContentLength >= 0 {
		total = in.size + resp.ContentLength
	}
	body := &watched{from: resp.Body, each: func() {
		watch.Reset(c.stall)
		in.shown.set(in.size, total)
	}}
	if _, err := io.Copy(in, body); body.err != nil {
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "the download from %s broke off: %w", resp.Request.URL.Host, body.err)}
	} else if err != nil {
		return err
	}
	in.shown.set(in.size, in.size)
	return nil
}

// watched tells of each read, and keeps the error of the last.
type watched struct {
	from io.Reader
	each func()
	err  error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if n > 0 {
		w.each()
	}
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
