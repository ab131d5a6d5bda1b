package client

import (
	"context"
	"net/http"
	"net/url"

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
	req.Header.Set("Accept-Encoding", "identity") // digests and ranges are of the bytes as they are
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
// that is no redirect; nil if send returned none.
func follow(u *url.URL, send func(*url.URL) (*http.Response, error)) (*http.Response, error) {
	for range maxRedirects + 1 {
		resp, err := send(u)
		if err != nil || resp == nil {
			return nil, err
		}
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
