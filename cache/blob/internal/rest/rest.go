// Package rest sends requests to the REST interface of a service that keeps blobs.
package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x/cache/blob"
)

const (
	tries    = 8        // of a request: services ask for less often when many write at once
	maxError = 64 << 10 // bytes of an answer that says what is wrong
)

// Transport returns a way to a service that gives up on one which says nothing for a third of patience, so that it can
// be asked again.
func Transport(patience time.Duration) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = patience / 3
	t.MaxIdleConnsPerHost = 32
	t.DisableCompression = true // the bytes of a blob are given as they are
	return t
}

// Client sends requests, up to eight times each, while there is time.
type Client struct {
	HTTP  *http.Client
	Pause time.Duration // the longest before another try
	// Authorize adds credentials to a request.
	Authorize func(*http.Request) error
	// Explain reads an answer that is an error: all but its status.
	Explain func(status int, header http.Header, body []byte) blob.ServiceError
}

// Request is one request. Its body is asked for with each try.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        func() io.Reader // nil: none
	Size        int64            // bytes of the body
}

// Do sends a request until the service does what it is asked to. Its error for a status of 300 or more is a
// *[blob.ServiceError], that for want of credentials a blob.ErrCredentials: what fetches these tries again for itself, so that a few
// times are enough. The caller closes the body of the response.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	for try := 1; ; try++ {
		response, err := c.once(ctx, r)
		if err == nil || try == tries || ctx.Err() != nil || !again(err) || try == 3 && errors.Is(err, blob.ErrCredentials) {
			return response, err
		}
		timer := time.NewTimer(min(100*time.Millisecond<<min(try, 6), c.Pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// again reports whether the same request may be done after an error.
func again(err error) bool {
	e, ok := errors.AsType[*blob.ServiceError](err)
	return !ok || e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= 500 && e.Status != http.StatusNotImplemented && e.Status != http.StatusInsufficientStorage
}

func (c *Client) once(ctx context.Context, r Request) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if r.Body != nil {
		request.Body, request.ContentLength = io.NopCloser(r.Body()), r.Size
		if r.Size == 0 {
			request.Body = http.NoBody
		}
	}
	if err := c.Authorize(request); err != nil {
		if e, ok := errors.AsType[*blob.ServiceError](err); ok {
			return nil, e
		}
		unavailable := blob.ErrCredentials
		if _, ok := errors.AsType[net.Error](err); ok { // where they come from may answer later
			unavailable = errUnreached
		}
		err = fmt.Errorf("%w: %v", unavailable, err) // not wrapped: that a file of credentials is missing is not that a blob is
		return nil, errors.Join(ctx.Err(), err)
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok { // its words have the whole URL, which may have a signature
			err = fmt.Errorf("%s %s%s: %w", r.Method, request.URL.Host, request.URL.Path, e.Err)
		}
		return nil, err
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxError)) // what there is of it
	e := c.Explain(response.StatusCode, response.Header, body)
	e.Status = response.StatusCode
	if (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) && Skewed(response.Header) {
		e.Fault = blob.Clock
	}
	return nil, &e
}

var errUnreached = errors.New("credentials for the bucket cannot be fetched now")

// Skewed reports whether the clock of the machine that answered with header differs so much from the one of this machine that signatures are
// not accepted.
func Skewed(header http.Header) bool {
	at, err := http.ParseTime(header.Get("Date"))
	return err == nil && time.Since(at).Abs() > 5*time.Minute
}

// Discard sends a request whose answer says nothing that is of use.
func (c *Client) Discard(ctx context.Context, r Request) error {
	response, err := c.Do(ctx, r)
	if err == nil {
		response.Body.Close()
	}
	return err
}

// Decode sends a request and has its answer decoded, of which at most limit bytes are read. An error says what that is.
func (c *Client) Decode(ctx context.Context, r Request, what string, limit int64, decode func(io.Reader) error) error {
	response, err := c.Do(ctx, r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := decode(io.LimitReader(response.Body, limit)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// MaxPage bounds a page of a listing, in bytes.
const MaxPage = 16 << 20

// List returns the blobs of a listing in pages: the first is that after "", and each says what the next one is after, "" if there is none.
func List(page func(after string) (blobs []blob.Info, next string, err error)) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for after := ""; ; {
			blobs, next, err := page(after)
			if err != nil {
				yield(blob.Info{}, err)
				return
			}
			for _, info := range blobs {
				if !yield(info, nil) {
					return
				}
			}
			if after = next; after == "" {
				return
			}
		}
	}
}

// From returns a header that asks for bytes from offset, none for all. It has a name of the service's.
func From(name string, offset int64) http.Header {
	if offset == 0 {
		return nil
	}
	return http.Header{name: {fmt.Sprintf("bytes=%d-", offset)}}
}

// SizeOf returns the size of the whole blob that a response has a part of.
func SizeOf(response *http.Response) int64 {
	if _, total, ok := strings.Cut(response.Header.Get("Content-Range"), "/"); ok {
		if size, err := strconv.ParseInt(total, 10, 64); err == nil {
			return size
		}
	}
	return response.ContentLength
}

// Whole reads a body from its begin. One that has less than size bytes ends with an error, so that the service does not take what
// comes behind it for the rest.
func Whole(body io.ReaderAt, size int64) io.Reader {
	return &whole{io.NewSectionReader(body, 0, size), size}
}

type whole struct {
	from io.Reader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if w.left -= int64(n); err == io.EOF && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
