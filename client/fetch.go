package client

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k6x"
)

// Resolve asks the service which versions list has now; nothing is built. A pinned list has its own, and is
// not asked about: whether it can be built is not known then. The errors of the service keep their kind and words; one that does
// not answer, or not as a service does, is of kind k6x.Unavailable.
func (c *Client) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (pinned k6x.List, err error) {
	if list.Pinned() {
		return list, nil
	}
	ctx, stop := context.WithTimeout(ctx, cmp.Or(c.MaxWait, defaultWait))
	defer stop()
	err = c.Retry(ctx, func() error {
		resp, err := follow(c.listURL(platform, list), func(u *url.URL) (*http.Response, error) {
			prefix, found, ok := splitURL(u, platform)
			if ok && found.Pinned() {
				pinned = found
				return nil, satisfies(pinned, list)
			}
			return c.await(ctx, u, nil, Event{Step: Resolving, URL: u.String()}, progressURL(u, prefix, platform, list))
		})
		if err != nil || resp == nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return notAService(resp.Request.URL.Host)
		}
		return c.refused(resp)
	})
	return pinned, err
}

const defaultWait = 30 * time.Minute

// Fetch writes the binary that list has now to file, which is empty, checks it by the digest that the service announces, and
// returns what it is. The service builds it if need be. A download that breaks off is resumed. If it fails, the file is empty, as far
// as that can be brought about.
//
// Errors are those of Resolve; wrong bytes are one of kind k6x.Unavailable; an error of the file is returned as it is.
func (c *Client) Fetch(ctx context.Context, platform k6x.Platform, list k6x.List, file File) (Binary, error) {
	return (&download{client: c, file: file, url: c.listURL(platform, list), list: list, binary: Binary{Platform: platform}}).run(ctx)
}

// listURL returns the URL of a list at the service.
func (c *Client) listURL(platform k6x.Platform, list k6x.List) *url.URL {
	return withPath(c.Base, strings.TrimRight(c.Base.EscapedPath(), "/")+list.Path(platform))
}

// progressURL returns where the service of u, which is at the path prefix, tells the progress of a build.
func progressURL(u *url.URL, prefix string, platform k6x.Platform, list k6x.List) *url.URL {
	return withPath(u, prefix+"/progress"+list.Path(platform))
}

// request requests the binary at u, which is the one that the list is asked for at, its canonical one, or where the bytes
// are. It may have to wait for a build until the first byte has come.
func (d *download) request(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	platform := d.binary.Platform
	prefix, list, ok := splitURL(u, platform)
	d.canonical = d.list != nil && ok && list.Pinned()
	e := Event{Step: Resolving, URL: u.String()}
	if d.canonical {
		if err := satisfies(list, d.list); err != nil {
			return nil, err
		}
		e.Step = Building
		d.url = withoutRound(u) // a download that breaks off goes on here, and the list is not resolved again
		d.binary.URL, d.binary.List = d.url.String(), list
	}
	if d.canonical {
		header = d.offer(header, platform, list)
	}
	if d.list == nil || d.began || !ok {
		return d.client.once(ctx, http.MethodGet, u, header)
	}
	d.stall.Stop() // await has limits of its own
	defer d.touch()
	return d.client.await(ctx, u, header, e, progressURL(u, prefix, platform, list))
}

// notAService is the error for an answer that is not one of a builder service.
func notAService(host string) error {
	return k6x.Errorf(k6x.Unavailable, "%s does not answer as a builder service does", host).
		WithHint("Is the URL of the service right?")
}

// satisfies returns an error unless a service's list is what was asked for: the very same names, and versions
// that were allowed; but for k6, which need not be asked for, and for a commit, which resolves to
// a version that is not known beforehand.
func satisfies(pinned, list k6x.List) error {
	wrong := func(dep k6x.Dependency) error {
		return k6x.Errorf(k6x.Unavailable, "the service answers with %s, which is not what was asked for: %s", pinned, list).
			WithHint("%s does not fit. Is the URL of the service right?", dep)
	}
	for _, dep := range list {
		got, ok := pinned.Lookup(dep.Name)
		commit := strings.Contains(dep.Constraint.Version(), "+")
		if !ok || !commit && !dep.Constraint.Any() && !dep.Constraint.Allows(got.Version()) {
			return wrong(dep)
		}
	}
	for _, dep := range pinned {
		if _, ok := list.Lookup(dep.Name); !ok && dep.Name != k6x.K6 {
			return wrong(dep)
		}
	}
	return nil
}
