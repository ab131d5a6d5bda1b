package client

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"k6x"
)

const progressInterval = time.Second // between two questions for the progress of a build

var stepSyntax = regexp.MustCompile(`^[a-z]{1,20}$`)

// await sends a GET whose answer may have to wait for a build, and reports the event e. A service that
// hangs looks like one that builds; so it is asked for the build's progress at the URL progress meanwhile, and given
// up if it answers nothing. Any answer to that will do.
func (c *Client) await(ctx context.Context, u *url.URL, header http.Header, e Event, progress *url.URL) (*http.Response, error) {
	c.report(e)
	ctx, giveUp := context.WithCancelCause(ctx)
	watching, stop := context.WithCancel(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		c.watch(watching, e, progress, giveUp)
	}()
	resp, err := c.once(ctx, http.MethodGet, u, header)
	stop()
	<-stopped
	if err != nil {
		cause := context.Cause(ctx)
		giveUp(nil)
		if hangs, ok := errors.AsType[*k6x.Error](cause); ok {
			return nil, hangs
		}
		return nil, err
	}
	resp.Body = &cancelingBody{resp.Body, giveUp}
	return resp, nil
}

// cancelingBody is a body that ends the context of its request when it is closed.
type cancelingBody struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (b *cancelingBody) Close() error {
	defer b.cancel(nil)
	return b.ReadCloser.Close()
}

// watch asks for the progress of a build until ctx ends, each second as long as there is something to report, else
// from time to time. It calls giveUp if nothing was answered for too long.
func (c *Client) watch(ctx context.Context, e Event, progress *url.URL, giveUp context.CancelCauseFunc) {
	silence := cmp.Or(c.Silence, 10*time.Second)
	interval := silence
	if c.Progress != nil && e.Step == Building {
		interval = min(silence, progressInterval)
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	followed := false // the events of the build
	for answered := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		step, known, err := c.progress(ctx, progress, silence)
		if err == nil {
			answered = time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && time.Since(answered) >= silence:
			giveUp(k6x.Errorf(k6x.Unavailable, "%s does not answer", progress.Host).
				WithHint("The service hangs, or the network loses what it sends."))
			return
		case err != nil:
		case !known:
			ticker.Reset(silence)
		case step.Step != "" && e.Step == Building:
			c.reportStep(e, step)
			if !followed && c.Progress != nil && uuid.Validate(step.Build) == nil {
				followed = true // if they end early, as where a token is wanted, its progress will do
				prefix, _, _ := strings.Cut(progress.EscapedPath(), "/progress/")
				c.followBuild(ctx, e, withPath(progress, prefix+"/builds/"+step.Build+"/events"), 3*silence)
				answered = time.Now()
			}
		}
	}
}

// followBuild reports the steps of a build by its events at u, until they end, or nothing comes for longer than limit.
func (c *Client) followBuild(ctx context.Context, e Event, u *url.URL, limit time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(limit, cancel)
	defer late.Stop()
	resp, err := c.once(ctx, http.MethodGet, u, nil)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		late.Reset(limit)
		var step buildStep
		if json.Unmarshal(lines.Bytes(), &step) == nil && step.valid() {
			c.reportStep(e, step)
		}
	}
	_ = lines.Err() // if they break off, its progress will do
}

func (c *Client) reportStep(e Event, step buildStep) {
	e.Doing, e.Done, e.Total = step.Step, step.Done, step.Total
	c.report(e)
}

// buildStep is how far a build is, as a service says it.
type buildStep struct {
	Build string `json:"build"` // id; "": it does not say
	Step  string `json:"step"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

func (s buildStep) valid() bool { return stepSyntax.MatchString(s.Step) && s.Done >= 0 && s.Total >= 0 }

// progress asks how far a build is: the zero step if none runs. It is not known at a service that does not
// say such things. An error means that there was no answer within limit.
func (c *Client) progress(ctx context.Context, u *url.URL, limit time.Duration) (step buildStep, known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.once(ctx, http.MethodGet, u, nil)
	if err != nil {
		return buildStep{}, false, err
	}
	defer resp.Body.Close()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode == http.StatusOK && media == "application/json" &&
		json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&step) == nil && step.valid() {
		return step, true, nil
	}
	return buildStep{}, resp.StatusCode == http.StatusNoContent, nil
}
