package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k6x"
)

// File is where a download goes; an [os.File] will do. It has to be empty at first.
type File interface {
	io.Writer
	io.Seeker
	Truncate(size int64) error
}

// Download writes the bytes of b to file, checks them, and returns b with its digest and size. What
// breaks off is resumed. If it fails, the file is empty, as far as that can be brought about.
//
// A digest of b has to be that of the bytes and of what the answer announces; if it has
// none, the answer has to announce one. Wrong bytes are an error of kind k6x.Unavailable; an error of
// the file is returned as it is.
func (c *Client) Download(ctx context.Context, b Binary, file File) (Binary, error) {
	location, err := url.Parse(b.URL)
	if err != nil || location.Scheme != "http" && location.Scheme != "https" || location.Host == "" {
		return Binary{}, k6x.Errorf(k6x.Invalid, "%q is not a URL that a binary could be had from", clip(b.URL))
	}
	in := &incoming{client: c, want: b, file: file, hash: sha256.New(), most: or(c.MaxSize, 1<<30)}
	err = c.retry(ctx, func() int64 { return in.size }, func() error { return in.fetch(ctx, location) })
	if err == nil {
		got := hex.EncodeToString(in.hash.Sum(nil))
		if got == in.want.Digest {
			in.want.Size = in.size
			return in.want, nil
		}
		err = k6x.Errorf(k6x.Unavailable, "the binary at %s has the digest %s, but it should have %s", location.Redacted(), got, in.want.Digest).
			WithHint("It was changed on its way, or the service is at fault. It was not kept.")
	}
	_ = in.restart() // the first error is the one to tell
	return Binary{}, err
}

// incoming is what has come of a download so far.
type incoming struct {
	client *Client
	want   Binary
	file   File
	hash   hash.Hash
	size   int64 // bytes that have come
	most   int64 // bytes that may come
	etag   string
}

// local is an error that is not of the network, so that there is no use in another try.
type local struct{ err error }

func (l *local) Error() string { return l.err.Error() }
func (l *local) Unwrap() error { return l.err }

func (in *incoming) Write(p []byte) (int, error) {
	if in.size+int64(len(p)) > in.most {
		return 0, &local{k6x.Errorf(k6x.Unavailable, "the binary is larger than %d MiB", in.most>>20)}
	}
	if in.want.Size > 0 && in.size+int64(len(p)) > in.want.Size {
		return 0, &local{k6x.Errorf(k6x.Unavailable, "the binary is larger than the %d bytes that it should have", in.want.Size)}
	}
	n, err := in.file.Write(p)
	in.hash.Write(p[:n])
	in.size += int64(n)
	if err != nil {
		err = &local{err}
	}
	return n, err
}

// restart forgets what has come.
func (in *incoming) restart() error {
	in.hash.Reset()
	in.size, in.etag = 0, ""
	err := in.file.Truncate(0)
	if err == nil {
		_, err = in.file.Seek(0, io.SeekStart)
	}
	return err
}

// fetch requests what is missing, once.
func (in *incoming) fetch(ctx context.Context, location *url.URL) error {
	if in.want.Size > 0 && in.size == in.want.Size { // only the end of the answer got lost
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stall := or(in.client.Stall, time.Minute)
	watch := time.AfterFunc(stall, cancel)
	defer watch.Stop()
	header := http.Header{}
	if in.size > 0 && in.etag != "" {
		header.Set("Range", fmt.Sprintf("bytes=%d-", in.size))
		header.Set("If-Range", in.etag)
	} else if err := in.restart(); err != nil {
		return err
	}
	resp, err := in.client.follow(ctx, http.MethodGet, location, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := in.accept(resp); err != nil {
		return err
	}
	return in.receive(resp, func() { watch.Reset(stall) })
}

// accept decides by the head of an answer whether its body is taken.
func (in *incoming) accept(resp *http.Response) error {
	host := resp.Request.URL.Host
	again := func(format string, args ...any) error {
		in.etag = "" // the next try takes it from the start
		return &temporary{err: k6x.Errorf(k6x.Unavailable, format, args...)}
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if err := in.restart(); err != nil {
			return err
		}
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", in.size)) {
			return again("%s sends another part of the binary than was asked for", host)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return again("%s has less of the binary than it had before", host)
	default:
		return refused(resp)
	}
	digest, err := digestOf(resp.Header)
	switch {
	case err != nil:
		return err
	case in.want.Digest == "" && digest == "":
		return k6x.Errorf(k6x.Unavailable, "%s does not say what digest the binary has, so that it cannot be checked", host).
			WithHint("Is the URL that of a binary at a builder service?")
	case in.want.Digest == "":
		in.want.Digest = digest
	case resp.Header.Get("Repr-Digest") != "" && digest != in.want.Digest:
		return k6x.Errorf(k6x.Unavailable, "%s announces a binary with the digest %s, but it should have %s", host, digest, in.want.Digest).
			WithHint("The service is at fault. Nothing was kept.")
	}
	if total := in.size + resp.ContentLength; resp.ContentLength >= 0 {
		if in.want.Size == 0 {
			in.want.Size = total
		}
		if total != in.want.Size {
			return k6x.Errorf(k6x.Unavailable, "%s sends a binary of %d bytes, but it should have %d", host, total, in.want.Size).
				WithHint("It was changed on its way, or the service is at fault. Nothing was kept.")
		}
	}
	in.etag = ""
	if tag := resp.Header.Get("Etag"); strings.HasPrefix(tag, `"`) {
		in.etag = tag
	}
	return nil
}

// receive copies a body to where it goes; each tells of each read.
func (in *incoming) receive(resp *http.Response, each func()) error {
	tell := func() {
		each()
		in.client.tell(Event{Step: Downloading, URL: in.want.URL, Done: in.size, Total: in.want.Size})
	}
	host := resp.Request.URL.Host
	// Neither side brings a way to copy of its own.
	_, err := io.CopyBuffer(struct{ io.Writer }{in}, &watched{resp.Body, tell}, make([]byte, 256<<10))
	if disk, ok := errors.AsType[*local](err); ok {
		return disk.err
	}
	if err != nil {
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "the download from %s broke off: %w", host, err)}
	}
	if in.want.Size > in.size { // an answer without a length can end too early
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "the download from %s broke off after %d of %d bytes", host, in.size, in.want.Size)}
	}
	tell()
	return nil
}

// watched tells of each read.
type watched struct {
	from io.Reader
	each func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if n > 0 {
		w.each()
	}
	return n, err
}
