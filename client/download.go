package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x"
)

// File is the file that a download goes to; an [os.File] will do. It has to be empty at first.
type File interface {
	io.Writer
	io.Seeker
	Truncate(size int64) error
}

// Download writes the bytes at location to file and checks that they have the digest. It is [Client.Fetch] for
// a URL and digest that some other API has given; no credentials are sent.
func (c *Client) Download(ctx context.Context, location, digest string, file File) (Binary, error) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Binary{}, k6x.Errorf(k6x.Invalid, "%q is not a URL that a binary could be had from", clip(location))
	}
	if k6x.CheckKey(digest) != nil {
		return Binary{}, k6x.Errorf(k6x.Invalid, "%q is not a digest", clip(digest))
	}
	anonymous := *c
	anonymous.Base, anonymous.Token = nil, ""
	return (&download{client: &anonymous, file: file, url: u, binary: Binary{URL: location, Digest: digest}}).run(ctx)
}

// download is one binary on its way into a file, over as many requests as that takes.
type download struct {
	client *Client
	file   File
	limit  int64       // bytes that may come
	stall  *time.Timer // ends the current request
	late   *time.Timer // ends all of it, until the first byte has come

	url       *url.URL // of the next request
	list      k6x.List // that is asked for; nil: the bytes are asked for by their digest
	canonical bool     // the last request was for the canonical URL
	binary    Binary   // as far as it is known

	whole  bool                          // a difference was of no use: the binary as it is is asked for
	differ string                        // digest of the binary from which the difference is asked for; "": it is not
	open   func() (io.ReadCloser, error) // opens that

	began  bool  // something has come
	failed error // of the file, or of what was to be written to it: there is no use in another try
	size   int64
	hash   hash.Hash // of the bytes that have come
	etag   string    // by which they can be resumed; "": they cannot
}

// run requests the binary until all of it has come, and checks it.
func (d *download) run(ctx context.Context) (Binary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.limit, d.hash = cmp.Or(d.client.MaxSize, 1<<30), sha256.New()
	d.late = time.AfterFunc(cmp.Or(d.client.MaxWait, defaultWait), func() { cancel(context.DeadlineExceeded) })
	defer d.late.Stop()
	err := d.client.retry(ctx, func() int64 { return d.size }, func() error { return d.fetch(ctx) })
	if err == nil {
		got := hex.EncodeToString(d.hash.Sum(nil))
		if got == d.binary.Digest {
			d.binary.Size = d.size
			return d.binary, nil
		}
		err = k6x.Errorf(k6x.Unavailable, "the binary at %s has the digest %s, but it should have %s", d.url.Redacted(), got, d.binary.Digest).
			WithHint("It was changed on its way, or the service is at fault. It was not kept.")
	}
	_ = d.restart() // the first error is the one to report
	return Binary{}, err
}

func (d *download) Write(p []byte) (n int, err error) {
	switch size := d.size + int64(len(p)); {
	case size > d.limit:
		err = k6x.Errorf(k6x.Unavailable, "the binary is larger than %d MiB", d.limit>>20)
	case d.binary.Size > 0 && size > d.binary.Size:
		err = k6x.Errorf(k6x.Unavailable, "the binary is larger than the %d bytes that it should have", d.binary.Size)
	default:
		n, err = d.file.Write(p)
		d.hash.Write(p[:n])
		d.size += int64(n)
		d.began = true
		d.late.Stop()
		d.touch()
		d.client.report(Event{Step: Downloading, URL: d.binary.URL, Done: d.size, Total: d.binary.Size})
	}
	d.failed = err
	return n, err
}

// restart empties the file.
func (d *download) restart() error {
	d.hash.Reset()
	d.size, d.etag = 0, ""
	err := d.file.Truncate(0)
	if err == nil {
		_, err = d.file.Seek(0, io.SeekStart)
	}
	return err
}

// touch gives the current request as long as it had at first.
func (d *download) touch() { d.stall.Reset(d.client.stall()) }

func (c *Client) stall() time.Duration { return cmp.Or(c.Stall, time.Minute) }

// fetch requests the bytes that are missing, once.
func (d *download) fetch(ctx context.Context) error {
	if d.binary.Size > 0 && d.size == d.binary.Size { // only the end of the answer got lost
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.stall = time.AfterFunc(d.client.stall(), cancel)
	defer d.stall.Stop()
	header := http.Header{}
	if d.size > 0 && d.etag != "" {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.size))
		header.Set("If-Range", d.etag)
	} else if err := d.restart(); err != nil {
		return err
	}
	resp, err := follow(d.url, func(u *url.URL) (*http.Response, error) { return d.request(ctx, u, header) })
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := d.accept(ctx, resp); err != nil {
		return err
	}
	return d.receive(resp)
}

// accept returns an error unless the head of an answer is that of the binary or of the part that is missing.
func (d *download) accept(ctx context.Context, resp *http.Response) error {
	host := resp.Request.URL.Host
	again := func(format string, args ...any) error {
		d.etag = "" // the next try takes it from the start
		return &temporary{err: k6x.Errorf(k6x.Unavailable, format, args...)}
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if err := d.restart(); err != nil {
			return err
		}
	case http.StatusPartialContent:
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.size)) {
			return again("%s sends another part of the binary than was asked for", host)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return again("%s has less of the binary than it had before", host)
	default:
		return d.client.refused(resp)
	}
	if err := d.expect(ctx, resp); err != nil {
		return err
	}
	d.binary.Warnings = warningsOf(resp.Header)
	d.etag = ""
	if d.isDifference(resp) {
		return nil // nothing is known of its size, and no part of it can be asked for
	}
	if total := d.size + resp.ContentLength; resp.ContentLength >= 0 {
		if d.binary.Size == 0 {
			d.binary.Size = total
		}
		if total != d.binary.Size {
			return k6x.Errorf(k6x.Unavailable, "%s sends a binary of %d bytes, but it should have %d", host, total, d.binary.Size).
				WithHint("It was changed on its way, or the service is at fault. Nothing was kept.")
		}
	}
	if tag := resp.Header.Get("Etag"); strings.HasPrefix(tag, `"`) {
		d.etag = tag
	}
	return nil
}

// warningsOf returns what is said against a binary: a service sends some lines at most, each as Go quotes it.
func warningsOf(h http.Header) (warnings []string) {
	for _, text := range h.Values("K6x-Warning") {
		if plain, err := strconv.Unquote(`"` + text + `"`); err == nil && len(warnings) < 10 {
			warnings = append(warnings, plain)
		}
	}
	return warnings
}

// expect finds out which digest the binary has, and compares it with the one that the answer announces.
func (d *download) expect(ctx context.Context, resp *http.Response) error {
	h := resp.Header
	if d.isDifference(resp) {
		h = http.Header{"Repr-Digest": h.Values("Unencoded-Digest")}
	}
	digest, err := digestOf(h)
	if err != nil {
		return err
	}
	if digest == "" && d.isDifference(resp) {
		return d.useless(resp, errors.New("it does not say of what"))
	}
	if d.binary.Digest == "" {
		announced := digest
		if d.binary.List != nil && !d.canonical { // a bucket knows nothing of digests, nor would it be asked for one
			if announced, err = d.client.announced(ctx, d.url); err != nil {
				return err
			}
		}
		if d.binary.List == nil || announced == "" || resp.ContentLength == 0 {
			return notAService(resp.Request.URL.Host)
		}
		d.binary.Digest = announced
	}
	if h.Get("Repr-Digest") != "" && digest != d.binary.Digest {
		return k6x.Errorf(k6x.Unavailable, "%s announces a binary with the digest %s, but it should have %s", resp.Request.URL.Host, digest, d.binary.Digest).
			WithHint("The service is at fault. Nothing was kept.")
	}
	return nil
}

// announced asks the service for the digest of the binary at its canonical URL; "" if it does not say.
func (c *Client) announced(ctx context.Context, canonical *url.URL) (string, error) {
	resp, err := follow(canonical, func(u *url.URL) (*http.Response, error) {
		if u.Host != canonical.Host || u.Scheme != canonical.Scheme { // only the service is believed
			return nil, notAService(canonical.Host)
		}
		return c.once(ctx, http.MethodHead, u, nil)
	})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return "", c.refused(resp)
	}
	return digestOf(resp.Header)
}

// receive copies a body to the file.
func (d *download) receive(resp *http.Response) error {
	if d.isDifference(resp) {
		return d.receiveDifference(resp)
	}
	host := resp.Request.URL.Host
	_, err := io.CopyBuffer(d, struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
	switch {
	case d.failed != nil:
		return d.failed
	case err != nil:
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "the download from %s broke off: %w", host, err)}
	case d.binary.Size > d.size: // an answer without a length can end too early
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "the download from %s broke off after %d of %d bytes", host, d.size, d.binary.Size)}
	}
	return nil
}
