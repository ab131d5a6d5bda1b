package client

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"time"

	"k6x"
)

const (
	maxPause = time.Minute // between two tries, whatever a server asks for
	maxTries = 100         // of a download that gets further each time
)

// temporary is a failure that may be gone the next time.
type temporary struct {
	err   *k6x.Error
	after time.Duration // as the server says; 0: it does not
}

func (t *temporary) Error() string { return t.err.Error() }
func (t *temporary) Unwrap() error { return t.err }

// Temporary returns an error that [Client.Retry] takes as one that may be gone the next time; after
// says when, 0 if that is not known.
func Temporary(err *k6x.Error, after time.Duration) error { return &temporary{err, after} }

// Retry calls f until it succeeds, fails with an error that is not [Temporary], or has failed too often. Once ctx
// has ended, the error is of kind k6x.Canceled or k6x.Timeout.
func (c *Client) Retry(ctx context.Context, f func() error) error {
	return c.retry(ctx, func() int64 { return 0 }, f)
}

// retry calls f until it succeeds, fails for good, or has failed too often in a row without that
// progress has grown.
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
		if c.Logger != nil {
			c.Logger.Debug("trying again", "error", t.err, "cause", errors.Unwrap(t.err), "after", d)
		}
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
	return k6x.Errorf(k6x.Canceled, "interrupted").WithCause(ctx.Err())
}

// Unreachable returns the error for a request to host that had no answer. It is [Temporary], unless
// no connection can be made: there is no use in asking again.
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
