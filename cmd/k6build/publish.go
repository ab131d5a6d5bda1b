package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"k6x"
	"k6x/cache"
)

// publishTime bounds the way of one binary to the store.
const publishTime = 10 * time.Minute

// publisher puts binaries at a k6build store, each once, for clients to download.
type publisher struct {
	base    *url.URL
	token   string // for the store; "": none
	http    *http.Client
	flights singleflight.Group
	stored  *lru.Cache[string, string] // digest to the URL at the store
}

func newPublisher(base *url.URL, token string) *publisher {
	stored, _ := lru.New[string, string](4096) // fails for a size below one only
	return &publisher{base: base, token: token, http: &http.Client{}, stored: stored}
}

// publish makes sure that the store has the binary under its digest, and returns the URL
// to download it from. Callers for the same digest share one upload, which outlasts
// them. Errors are of kind Unavailable, or those of open.
func (p *publisher) publish(ctx context.Context, digest string, open func(context.Context) (*cache.Entry, error)) (string, error) {
	if location, ok := p.stored.Get(digest); ok {
		return location, nil
	}
	flight := p.flights.DoChan(digest, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime)
		defer cancel()
		location, err := p.ensure(ctx, digest, open)
		if err == nil {
			p.stored.Add(digest, location)
		}
		return location, err
	})
	select {
	case done := <-flight:
		location, _ := done.Val.(string)
		return location, done.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (p *publisher) ensure(ctx context.Context, digest string, open func(context.Context) (*cache.Entry, error)) (string, error) {
	location, err := p.do(ctx, http.MethodGet, digest, nil)
	if !errors.Is(err, errNoObject) {
		return location, err
	}
	entry, err := open(ctx)
	if err != nil {
		return "", err
	}
	defer entry.Close()
	if entry.Verify != nil { // what the store has once stays
		if err := entry.Verify(ctx); err != nil {
			return "", err
		}
	}
	location, err = p.do(ctx, http.MethodPost, digest, entry)
	if errors.Is(err, errDuplicate) { // another server was first, and its object counts
		return p.do(ctx, http.MethodGet, digest, nil)
	}
	return location, err
}

var (
	errNoObject  = errors.New("the store does not have it")
	errDuplicate = errors.New("the store has it already")
)

// do describes the object, or stores entry as it, and returns its URL.
func (p *publisher) do(ctx context.Context, method, digest string, entry *cache.Entry) (string, error) {
	target := p.base.JoinPath("store", digest)
	req, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err != nil {
		return "", err
	}
	if entry != nil {
		req.Body, req.ContentLength = io.NopCloser(entry.Body), entry.Size
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	var answer struct {
		Error  *nestedError
		Object struct{ Checksum, URL string }
	}
	resp, _, bad, err := exchange(p.http, req, p.token, &answer)
	switch {
	case resp == nil:
		return "", p.fault("it does not answer", err)
	case err != nil:
		return "", p.fault("its answer broke off", err)
	case resp.StatusCode == http.StatusNotFound && method == http.MethodGet:
		return "", errNoObject
	case method == http.MethodPost && answer.Error.mentions("duplicate object"):
		return "", errDuplicate
	case resp.StatusCode != http.StatusOK || answer.Error.innermost() != "":
		return "", p.fault("it refuses", errors.New(resp.Status+": "+answer.Error.innermost()))
	case bad != nil:
		return "", p.fault("it does not answer as a store does", bad)
	case !strings.EqualFold(answer.Object.Checksum, digest):
		return "", p.fault("what it has under this id is something else", errors.New("checksum "+answer.Object.Checksum))
	}
	u, err := url.Parse(answer.Object.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		u = target.JoinPath("download")
	}
	return u.String(), nil
}

func (p *publisher) fault(reason string, cause error) error {
	return k6x.Errorf(k6x.Unavailable, "the binary is there, but the store that clients get it from cannot take it: %s", reason).
		WithRetry(time.Minute).WithCause(cause)
}
