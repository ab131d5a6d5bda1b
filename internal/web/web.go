// Package web has what requests to servers of others have in common: a client that gives up, and words that tell no secret.
package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// UserAgent is how this program calls itself.
const UserAgent = "k6x"

const (
	headTime     = 30 * time.Second // until a server begins to answer
	idle         = 16               // connections to a host that are kept
	most         = 64               // connections to a host: a crowd of requests is no reason to run out of files
	maxRedirects = 10
)

// NewClient returns a client that uses the proxies that proxy tells, as in [http.Transport]; nil: those of the environment. It is not led from an encrypted connection to one
// that is not.
func NewClient(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if proxy != nil {
		transport.Proxy = proxy
	}
	transport.ResponseHeaderTimeout = headTime
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = idle, most
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return errors.New("a redirect from https to " + req.URL.Scheme)
	}
	return nil
}

// Shown returns a URL without what may be secret in it: user, password, query.
func Shown(u *url.URL) string {
	clean := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.RawQuery != "" {
		clean.RawQuery = "…"
	}
	return clean.String()
}

// WithoutURL takes the URL, which may hold a password, out of an error of net/http
// or net/url.
func WithoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
