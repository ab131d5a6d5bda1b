package client

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"k6x"
)

// maxRedirects bounds a chain of redirects. The service redirects a client that waits for a build
// to itself eight times at most, and there may be its canonical path, a bucket and a proxy or two.
const maxRedirects = 15

// once sends one request and follows no redirect.
func (c *Client) once(ctx context.Context, method string, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "%q is not a URL that can be asked for", clip(u.Redacted())).WithCause(err)
	}
	if header != nil {
		req.Header = header.Clone()
	}
	req.Header.Set("User-Agent", "k6x")
	req.Header.Set("Accept", "application/octet-stream, application/problem+json")
	if req.Header.Get("Accept-Encoding") == "" {
		req.Header.Set("Accept-Encoding", "identity") // digests and ranges are of the bytes as they are
	}
	c.authorize(req)
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return nil, Unreachable(u.Host, err)
	}
	return resp, nil
}

// authorize adds the user's credentials to a request to the service, and to no other.
func (c *Client) authorize(req *http.Request) {
	if c.Base == nil || req.URL.Scheme != c.Base.Scheme || req.URL.Host != c.Base.Host {
		return
	}
	if user := c.Base.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
}

// follow calls send with u, and with each URL that an answer redirects to. It returns the first answer
// that is no redirect; nil if send returned none. A host that redirects to itself has answered, and may do so again.
func follow(u *url.URL, send func(*url.URL) (*http.Response, error)) (*http.Response, error) {
	answered := ""
	for range maxRedirects + 1 {
		resp, err := send(u)
		if t, ok := errors.AsType[*temporary](err); ok && u.Host == answered {
			t.refused = false
		}
		if err != nil || resp == nil {
			return nil, err
		}
		answered = u.Host
		target, err := redirect(resp)
		if target == nil && err == nil {
			return resp, nil
		}
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		u = target
	}
	return nil, k6x.Errorf(k6x.Unavailable, "%s redirects too often", u.Host).WithHint("Is the URL of the service right?")
}

// redirect returns the URL that resp redirects to; nil if it does not.
func redirect(resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	from := resp.Request.URL
	to, err := resp.Location()
	if err != nil || to.Host == "" || to.Scheme != "https" && (to.Scheme != "http" || from.Scheme == "https") {
		return nil, k6x.Errorf(k6x.Unavailable, "%s redirects to %q, which is not followed", from.Host, clip(resp.Header.Get("Location"))).
			WithHint("Redirects go to http or https, and not from https to http.").WithCause(err)
	}
	to.User = nil
	return to, nil
}

const (
	maxPause = time.Minute // between two tries, whatever a server asks for
	maxDown  = time.Minute // from when a server that has answered takes no connection until it is given up
	maxTries = 100         // of a download that gets further each time
)

// temporary is a failure that may be gone the next time.
type temporary struct {
	err     *k6x.Error
	after   time.Duration // as the server says; 0: it does not
	refused bool          // there was no connection, which passes only where there was one before
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// Temporary returns an error that [Client.Retry] takes as one that may be gone the next time; after
// says when, 0 if that is not known.
func Temporary(err *k6x.Error, after time.Duration) error { return &temporary{err: err, after: after} }

// Retry calls f until it succeeds, fails with an error that is not [Temporary], or has failed too often. Once ctx
// has ended, the error is of kind k6x.Canceled or k6x.Timeout.
func (c *Client) Retry(ctx context.Context, f func() error) error {
	return c.retry(ctx, func() int64 { return 0 }, f)
}

// retry calls f until it succeeds, fails for good, or has failed too often in a row without that
// progress has grown. A server that has answered and takes no connections, as one that restarts, is waited for.
func (c *Client) retry(ctx context.Context, progress func() int64, f func() error) error {
	wait, before := time.Second, progress()
	heard, down := false, time.Duration(0)
	for try, total := 1, 1; ; try, total = try+1, total+1 {
		began := time.Now()
		err := f()
		if ctx.Err() != nil {
			return interrupted(ctx)
		}
		t, again := errors.AsType[*temporary](err)
		if !again {
			return err
		}
		if now := progress(); now > before {
			before, try, wait = now, 1, time.Second
		}
		switch down += time.Since(began); {
		case !t.refused:
			heard, down = true, 0
		case !heard || down >= maxDown:
			return t.err
		default:
			try--
		}
		if try >= cmp.Or(c.Tries, 4) || total >= maxTries {
			return t.err
		}
		d := wait + time.Duration(rand.Int64N(int64(wait/4)))
		if t.after > 0 {
			d = min(t.after, maxPause)
		}
		if c.Retrying != nil {
			c.Retrying(t.err, d)
		}
		pause := c.Pause
		if pause == nil {
			pause = sleep
		}
		if pause(ctx, d) != nil {
			return interrupted(ctx)
		}
		wait, down = min(2*wait, maxPause), down+d
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// interrupted is the error for a ctx that ended.
func interrupted(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
		return k6x.Errorf(k6x.Timeout, "it took too long").WithCause(cause)
	}
	return k6x.CanceledBy(ctx)
}

// Unreachable returns the error for a request to host that had no answer. It is [Temporary]; but where no connection can be
// made, asking again is of use only for a while, and if [Client.Retry] had other answers before.
func Unreachable(host string, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if e, ok := errors.AsType[*k6x.Error](err); ok { // of ours, by way of net/http
		return e
	}
	e := k6x.Errorf(k6x.Unavailable, "no answer from %s: %w", host, err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return &temporary{err: e.WithHint("Is a service running there?"), refused: true}
	}
	return &temporary{err: e}
}
