package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"k6x"
)

// lastHeader has the number of the last entry on answers of /changes.
const lastHeader = "K6x-Last"

// Bounds of answers about builds.
const (
	maxBuilds = 64 << 20 // bytes of a page of builds
	maxLine   = 1 << 20  // bytes of an entry of the history
	maxLog    = 64 << 20 // bytes of a log
)

// Build is one attempt to build, as a service tells of it.
type Build struct {
	ID      string    `json:"id"`
	Path    string    `json:"path"`
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended"` // zero while it runs, and if nobody knows
	Outcome string    `json:"outcome"`
	Error   string    `json:"error"`
	JSON    string    `json:"-"` // all that the service tells, in a line fit for a terminal
}

// Builds returns the builds that the parameters of a query let pass, as /builds has them, the newest first. A hostile service has no end of them. An error
// is the last pair.
func (c *Client) Builds(ctx context.Context, query url.Values) iter.Seq2[Build, error] {
	return func(yield func(Build, error) bool) {
		for query := maps.Clone(query); ; {
			var page struct {
				Running []json.RawMessage
				Builds  []struct{ Result json.RawMessage }
				Cursor  string
			}
			if err := c.askJSON(ctx, http.MethodGet, "/builds", query, http.StatusOK, &page); err != nil {
				yield(Build{}, err)
				return
			}
			all := page.Running
			for _, b := range page.Builds {
				all = append(all, b.Result)
			}
			for _, text := range all {
				var b Build
				var line bytes.Buffer
				err := errors.Join(json.Unmarshal(text, &b), uuid.Validate(b.ID), json.Compact(&line, text))
				if err != nil {
					err = notAService(c.Base.Host)
				}
				b.JSON = k6x.Printable(line.String())
				if !yield(b, err) || err != nil {
					return
				}
			}
			if page.Cursor == "" || page.Cursor == query.Get("cursor") {
				return
			}
			query.Set("cursor", page.Cursor)
		}
	}
}

// RetryBuild has a build made again, and returns the id and path of the new one, which is not waited for.
func (c *Client) RetryBuild(ctx context.Context, id string) (again Build, err error) {
	if err = c.askJSON(ctx, http.MethodPost, "/builds/"+url.PathEscape(id)+"/retry", nil, http.StatusAccepted, &again); err == nil && uuid.Validate(again.ID) != nil {
		err = notAService(c.Base.Host)
	}
	return again, err
}

// Build returns what a service tells of one build.
func (c *Client) Build(ctx context.Context, id string) (b Build, err error) {
	err = c.askJSON(ctx, http.MethodGet, "/builds/"+url.PathEscape(id), nil, http.StatusOK, &b)
	return b, err
}

// Log writes what the tools of a build print, as it comes, fit for a terminal.
func (c *Client) Log(ctx context.Context, id string, w io.Writer) (err error) {
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = interrupted(ctx)
		}
	}()
	resp, err := c.ask(ctx, http.MethodGet, "/builds/"+url.PathEscape(id)+"/log", nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(io.LimitReader(resp.Body, maxLog), maxAnswer)
	for {
		line, err := lines.ReadSlice('\n')
		if _, err := io.WriteString(w, k6x.Printable(string(line))); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil && err != bufio.ErrBufferFull:
			return c.brokeOff(err)
		}
	}
}

// Changes calls f with the entries of the history behind number since, each a line of JSON that is fit for a terminal; if there is none, it waits for one
// for a while. It returns the number of the last.
func (c *Client) Changes(ctx context.Context, since int64, wait time.Duration, f func(line string) error) (last int64, err error) {
	err = c.retry(ctx, func() int64 { return since }, func() error {
		ctx, stop := context.WithTimeout(ctx, c.stall()+wait)
		defer stop()
		resp, err := c.ask(ctx, http.MethodGet, "/changes", url.Values{"since": {strconv.FormatInt(since, 10)}, "wait": {wait.String()}}, http.StatusOK)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if end, err := strconv.ParseInt(resp.Header.Get(lastHeader), 10, 64); err == nil && end < since {
			return k6x.Errorf(k6x.Gone, "the history of %s ends with entry %d, before entry %d: it was begun anew, or the number is of another service", c.Base.Host, end, since).
				WithHint("Begin anew with --since 0, and without the file of --state.")
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			var entry struct{ Number int64 }
			switch err := json.Unmarshal(lines.Bytes(), &entry); {
			case len(lines.Bytes()) == 0:
			case err != nil && lines.Err() != nil: // of a line that was cut short
			case err != nil || entry.Number <= since:
				return notAService(c.Base.Host)
			default:
				if err := f(k6x.Printable(lines.Text())); err != nil {
					return err
				}
				since = entry.Number
			}
		}
		if lines.Err() != nil {
			return c.brokeOff(lines.Err())
		}
		return nil
	})
	return since, err
}

// askJSON reads the answer to a request, which is tried again, into a value.
func (c *Client) askJSON(ctx context.Context, method, path string, query url.Values, want int, into any) error {
	return c.Retry(ctx, func() error {
		ctx, stop := context.WithTimeout(ctx, c.stall())
		defer stop()
		resp, err := c.ask(ctx, method, path, query, want)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxBuilds))
		if err != nil {
			return c.brokeOff(err)
		}
		if json.Unmarshal(text, into) != nil {
			return notAService(c.Base.Host)
		}
		return nil
	})
}

// ask sends a request to a path of the service. What is no answer of the status that is wanted is an error.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, want int) (*http.Response, error) {
	u := withPath(c.Base, strings.TrimRight(c.Base.EscapedPath(), "/")+path)
	u.RawQuery = query.Encode()
	send := func(u *url.URL) (*http.Response, error) { return c.once(ctx, method, u, nil) }
	get := follow
	if method != http.MethodGet {
		get = func(u *url.URL, send func(*url.URL) (*http.Response, error)) (*http.Response, error) { return send(u) }
	}
	resp, err := get(u, send)
	if err != nil || resp.StatusCode == want {
		return resp, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusBadRequest {
		return nil, notAService(c.Base.Host)
	}
	return nil, c.refused(resp)
}

func (c *Client) brokeOff(err error) error {
	return &temporary{err: k6x.Errorf(k6x.Unavailable, "the answer of %s broke off: %w", c.Base.Host, err)}
}
