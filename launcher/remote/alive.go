package remote

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k6x"
)

// ask sends a request whose answer may have to wait for a build. A service that hangs looks like
// one that builds; so one that is silent for long is asked on the side whether it lives. Any
// answer to that will do. Meanwhile follow, if not nil, is called with a ctx that ends with the answer.
func (c *Client) ask(ctx context.Context, method string, u *url.URL, follow func(context.Context)) (*http.Response, error) {
	asking, giveUp := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { c.watch(asking, u, stop, giveUp) })
	following, unfollow := context.WithCancel(asking)
	if follow != nil {
		beside.Go(func() { follow(following) })
	}
	resp, err := c.once(asking, method, u, nil)
	close(stop)
	unfollow()
	beside.Wait()
	if err != nil {
		hung, ok := errors.AsType[*k6x.Error](context.Cause(asking))
		giveUp(nil)
		if ok && ctx.Err() == nil {
			return nil, hung
		}
		return nil, err
	}
	resp.Body = &canceling{resp.Body, giveUp}
	return resp, nil
}

// watch calls giveUp if the service of u stops answering at all.
func (c *Client) watch(ctx context.Context, u *url.URL, stop <-chan struct{}, giveUp context.CancelCauseFunc) {
	quiet := or(c.Quiet, 10*time.Second)
	ticker := time.NewTicker(quiet)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		case <-ticker.C:
		}
		if !c.alive(ctx, u, quiet, stop) {
			giveUp(k6x.Errorf(k6x.Unavailable, "%s does not answer", u.Host).
				WithHint("The service hangs, or the network loses what it sends."))
			return
		}
	}
}

// alive reports whether the host of u answers anything in time, or nobody wants to know any more.
func (c *Client) alive(ctx context.Context, u *url.URL, patience time.Duration, stop <-chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered := make(chan bool, 1)
	go func() {
		probe := &url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/alive"}
		if c.Base != nil && u.Host == c.Base.Host {
			probe = c.Base.JoinPath("alive")
		}
		resp, err := c.once(ctx, http.MethodHead, probe, nil)
		if err == nil {
			resp.Body.Close()
		}
		answered <- err == nil
	}()
	select {
	case ok := <-answered:
		return ok
	case <-stop:
		cancel()
		<-answered
		return true
	}
}

// canceling is a body whose end is that of its request.
type canceling struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	end context.CancelCauseFunc
}

func (b *canceling) Read(p []byte) (int, error) { return b.body.Read(p) }

func (b *canceling) Close() error {
	err := b.body.Close()
	b.end(nil)
	return err
}
