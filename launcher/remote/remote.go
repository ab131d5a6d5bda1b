// Package remote is a client of a builder service by its GET path: it finds out which binary a
// list of dependencies means at a service, and downloads it.
//
//	list ─► Resolve: HEAD, 301, 307, … ─► the canonical URL with a digest ─► Download: GET, Range ─► checked bytes
//
// Whatever a service says is checked before it is used or shown.
package remote

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"k6x"
)

// Client talks to a service. Only Base is needed; Download does without it.
type Client struct {
	Base     *url.URL                                         // of the service; a path of its own is kept, with or without a slash at its end
	HTTP     *http.Client                                     // nil: one with the transport that is the default; redirects are followed here
	Token    string                                           // sent to the host of Base only; "": none
	Logger   *slog.Logger                                     // nil: discard
	Progress func(Event)                                      // called once at a time, while a method of the client runs; nil: nobody is told
	Tries    int                                              // of a request that fails in a way that may pass; 0: 4
	Stall    time.Duration                                    // how long a download may go without a byte; 0: a minute
	Patience time.Duration                                    // how long Resolve may take; 0: half an hour
	Quiet    time.Duration                                    // how long a request that may be a build goes unanswered before the service is asked whether it lives, and how long it has to answer that; 0: 10 seconds
	MaxSize  int64                                            // of a binary, in bytes; 0: 1 GiB
	Pause    func(ctx context.Context, d time.Duration) error // waits; nil: by the clock
}

// Binary is what a list of dependencies means at a service.
type Binary struct {
	URL      string // canonical; it names these bytes for ever
	Platform k6x.Platform
	List     k6x.List // pinned
	Digest   string   // hex SHA-256; "" if the download has to say
	Size     int64    // bytes; 0: not known
}

// Step is what goes on.
type Step int

// The steps, of which some come again.
const (
	Resolving   Step = iota // asking what the list means: URL
	Building                // asking for the binary, which may mean that it is built: URL, Round
	Retrying                // waiting to try again: Err, After
	Downloading             // bytes have come: Done of Total
)

// Event tells of progress.
type Event struct {
	Step  Step
	URL   string
	Round int           // of waiting for a build, as the service counts; 0 at first
	Doing string        // what the service does to build it, in a word such as compiling; "": it does not say
	Done  int64         // bytes, or what the service counts
	Total int64         // of the same; 0: not known
	Err   error         // why it is tried again
	After time.Duration // when it is tried again
}

func (c *Client) tell(e Event) {
	if c.Progress != nil {
		c.Progress(e)
	}
}

func (c *Client) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

func or[T int | int64 | time.Duration](value, instead T) T {
	if value == 0 {
		return instead
	}
	return value
}

// ParseBase reads the URL of a service. The error is of kind k6x.Invalid.
func ParseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, k6x.Errorf(k6x.Invalid, "%q is not the URL of a service", clip(s)).
			WithHint("A URL is written like http://localhost:8787.")
	}
	return u, nil
}

// maxPause bounds the time between two tries, whatever a server wants.
const maxPause = time.Minute

// temporary is a failure that may be gone the next time.
type temporary struct {
	err   *k6x.Error
	after time.Duration // as the server says; 0: it does not
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// Temporary returns an error that [Client.Retry] takes as one that may be gone the next time; after
// is when, or 0 if nobody knows.
func Temporary(err *k6x.Error, after time.Duration) error { return &temporary{err, after} }

// Retry calls f until it succeeds, fails with an error that is not [Temporary], or has failed too often. Once ctx
// has ended, the error is of kind k6x.Canceled or k6x.Timeout.
func (c *Client) Retry(ctx context.Context, f func() error) error {
	return c.retry(ctx, func() int64 { return 0 }, f)
}

// retry calls f until it succeeds, fails for good, or has failed too often in a row; what
// gets further each time, as progress tells, goes on for longer.
func (c *Client) retry(ctx context.Context, progress func() int64, f func() error) error {
	wait, before := time.Second, progress()
	for try, total := 1, 1; ; try, total = try+1, total+1 {
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
		if try >= or(c.Tries, 4) || total >= maxTries {
			return t.err
		}
		d := wait + time.Duration(rand.Int64N(int64(wait/4)))
		if t.after > 0 {
			d = min(t.after, maxPause)
		}
		c.tell(Event{Step: Retrying, Err: t.err, After: d})
		c.logger().Debug("trying again", "error", t.err, "cause", errors.Unwrap(t.err), "after", d)
		pause := c.Pause
		if pause == nil {
			pause = sleep
		}
		if pause(ctx, d) != nil {
			return interrupted(ctx)
		}
		wait = min(2*wait, maxPause)
	}
}

// maxTries bounds the tries of a download that gets on a bit each time.
const maxTries = 100

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

// interrupted is the error for a ctx of the caller that ended.
func interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return k6x.Errorf(k6x.Timeout, "it took too long").WithCause(ctx.Err())
	}
	return k6x.Errorf(k6x.Canceled, "interrupted").WithCause(ctx.Err())
}

// Unreachable returns the error for a request to host that had no answer. It is [Temporary], but where nobody
// listens: there is no use in asking again.
func Unreachable(host string, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if e, ok := errors.AsType[*k6x.Error](err); ok { // of ours, by way of net/http
		return e
	}
	e := k6x.Errorf(k6x.Unavailable, "no answer from %s: %w", host, err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return e.WithHint("Is a service running there?")
	}
	return &temporary{err: e}
}
