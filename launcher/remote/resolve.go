package remote

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k6x"
)

// roundParam counts in a URL how often a client was sent round while it waits for a build.
const roundParam = "round"

// Resolve asks the service what list means for platform, and has it built if need be; nothing is
// downloaded. The errors of the service keep their kind and words; one that does
// not answer, or not as a service does, is of kind k6x.Unavailable.
func (c *Client) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (Binary, error) {
	return c.find(ctx, platform, list, true)
}

// Name is [Client.Resolve] without the build: the pinned list that list means now. A pinned
// list means itself; whether it can be built is not known then.
func (c *Client) Name(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	if list.Pinned() {
		return list, nil
	}
	named, err := c.find(ctx, platform, list, false)
	return named.List, err
}

func (c *Client) find(ctx context.Context, platform k6x.Platform, list k6x.List, build bool) (Binary, error) {
	ctx, stop := context.WithTimeout(ctx, or(c.Patience, 30*time.Minute))
	defer stop()
	start := c.Base.JoinPath()
	start.Path = strings.TrimRight(start.Path, "/") + "/" + platform.String() + "/" + list.String()
	start.RawPath = strings.TrimRight(c.Base.EscapedPath(), "/") + list.Path(platform)
	start.User, start.RawQuery, start.Fragment = nil, "", "" // URLs are kept and shown; for the user see authorize
	var found Binary
	err := c.Retry(ctx, func() (err error) {
		found, err = c.resolve(ctx, start, platform, list, build)
		return err
	})
	if err != nil {
		return Binary{}, err
	}
	return found, nil
}

func (c *Client) resolve(ctx context.Context, u *url.URL, platform k6x.Platform, list k6x.List, build bool) (Binary, error) {
	var canonical Binary
	for range maxRedirects + 1 {
		event := Event{Step: Resolving, URL: u.String()}
		if pinned, ok := pinnedBy(u, platform); ok {
			if err := satisfies(pinned, list); err != nil {
				return Binary{}, err
			}
			canonical = Binary{URL: withoutRound(u), Platform: platform, List: pinned}
			if !build {
				return canonical, nil
			}
			event.Step = Building
			event.Round, _ = strconv.Atoi(u.Query().Get(roundParam))
		}
		c.tell(event)
		resp, err := c.ask(ctx, http.MethodHead, u, c.follower(event, platform, canonical.List))
		if err != nil {
			return Binary{}, err
		}
		resp.Body.Close()
		to, err := redirect(resp)
		switch {
		case err != nil:
			return Binary{}, err
		case to != nil:
			u = to
			continue
		case resp.StatusCode != http.StatusOK:
			return Binary{}, c.explain(ctx, u, resp)
		}
		return announced(canonical, resp)
	}
	return Binary{}, tooManyRedirects(u.Host)
}

// announced completes a binary with what the answer to its HEAD says.
func announced(b Binary, resp *http.Response) (Binary, error) {
	digest, err := digestOf(resp.Header)
	if err != nil {
		return Binary{}, err
	}
	if b.URL == "" || digest == "" || resp.ContentLength == 0 {
		return Binary{}, k6x.Errorf(k6x.Unavailable, "%s does not answer as a builder service does", resp.Request.URL.Host).
			WithHint("Is the URL of the service right?")
	}
	b.Digest, b.Size = digest, max(0, resp.ContentLength)
	return b, nil
}

// explain asks again for the words of a failure, as the answer to a HEAD has none.
func (c *Client) explain(ctx context.Context, u *url.URL, head *http.Response) error {
	resp, err := c.ask(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusBadRequest { // it passed
		return &temporary{err: k6x.Errorf(k6x.Unavailable, "%s answered %s", u.Host, k6x.Printable(head.Status)), after: time.Millisecond}
	}
	return refused(resp)
}

// pinnedBy returns the list that a URL names for the platform, behind any prefix, if all of it is pinned.
func pinnedBy(u *url.URL, platform k6x.Platform) (k6x.List, bool) {
	at := strings.Index(u.Path, "/"+platform.String()+"/")
	if at < 0 {
		return nil, false
	}
	_, list, err := k6x.ParsePath(u.Path[at:])
	return list, err == nil && list.Pinned()
}

// satisfies checks that a service's list is what was asked for: the very same names, and versions
// that were allowed; but for k6, which need not be asked for, and for a commit, which resolves to
// a version that is not known beforehand.
func satisfies(pinned, wish k6x.List) error {
	wrong := func(dep k6x.Dependency) error {
		return k6x.Errorf(k6x.Unavailable, "the service answers with %s, which is not what was asked for: %s", pinned, wish).
			WithHint("%s does not fit. Is the URL of the service right?", dep)
	}
	for _, dep := range wish {
		got, ok := pinned.Lookup(dep.Name)
		commit := strings.Contains(dep.Constraint.Version(), "+")
		if !ok || !commit && !dep.Constraint.Any() && !dep.Constraint.Allows(got.Version()) {
			return wrong(dep)
		}
	}
	for _, dep := range pinned {
		if _, ok := wish.Lookup(dep.Name); !ok && dep.Name != k6x.K6 {
			return wrong(dep)
		}
	}
	return nil
}

func withoutRound(u *url.URL) string {
	clean := *u
	query := clean.Query()
	query.Del(roundParam)
	clean.RawQuery = query.Encode()
	return clean.String()
}
