package client

import (
	"net/url"
	"slices"
	"strings"

	"k6x"
)

// ParseBase reads the URL of a service. The error is of kind k6x.Invalid.
func ParseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, k6x.Errorf(k6x.Invalid, "%q is not the URL of a service", clip(s)).
			WithHint("A URL is written like http://localhost:8787.")
	}
	return u, nil
}

// systems are those that Go builds for, by which the path of a binary is told from that of its service.
var systems = []string{
	"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows",
}

// ParseURL reads the URL of a binary at a service, and returns that of the service, and the platform and
// list of the binary; or its path below the service, which may be without the slash, for which service is "". It is not ok if s
// is neither; the error of one is of kind k6x.Invalid, or k6x.NotFound for a platform that there is not.
func ParseURL(s string) (service string, platform k6x.Platform, list k6x.List, ok bool, err error) {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		path, err := url.PathUnescape(s)
		if first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/"); err != nil || !slices.Contains(systems, first) {
			return "", k6x.Platform{}, nil, false, nil
		}
		platform, list, err = k6x.ParsePath(path)
		return "", platform, list, true, err
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "", k6x.Platform{}, nil, true, k6x.Errorf(k6x.Invalid, "%q is not a URL", clip(s))
	}
	elements := strings.Split(u.Path, "/")
	at := slices.IndexFunc(elements, func(e string) bool { return slices.Contains(systems, e) })
	if at < 0 {
		return "", k6x.Platform{}, nil, true, k6x.Errorf(k6x.Invalid, "%q does not name a binary", clip(s)).
			WithHint("A binary is named as in https://builds.example.com/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6.")
	}
	if platform, list, err = k6x.ParsePath("/" + strings.Join(elements[at:], "/")); err != nil {
		return "", k6x.Platform{}, nil, true, err
	}
	u.Path, u.RawPath, u.RawQuery, u.Fragment = strings.Join(elements[:at], "/"), "", "", ""
	return u.String(), platform, list, true, nil
}

// SameHost reports whether two URLs are of one host, by the same scheme, so that credentials for
// the one may be sent to the other.
func SameHost(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && ua.Scheme == ub.Scheme && ua.Host == ub.Host
}

// splitURL splits the URL of a binary for a platform into the escaped path of its service and its list. It
// is not ok if u is no such URL.
func splitURL(u *url.URL, platform k6x.Platform) (prefix string, list k6x.List, ok bool) {
	path := u.EscapedPath()
	at := strings.Index(path, "/"+platform.String()+"/")
	if at < 0 {
		return "", nil, false
	}
	rest, err := url.PathUnescape(path[at:])
	if err == nil {
		_, list, err = k6x.ParsePath(rest)
	}
	return path[:at], list, err == nil
}

// withPath returns the URL of an escaped path at the host of u, without the rest of u: URLs are kept and
// shown, and have no credentials in them.
func withPath(u *url.URL, escaped string) *url.URL {
	path, err := url.PathUnescape(escaped)
	if err != nil { // not of what url.Parse has taken
		path = escaped
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path, RawPath: escaped}
}

// roundParam counts in a URL how often a client that waits for a build was redirected to the same path.
const roundParam = "round"

func withoutRound(u *url.URL) *url.URL {
	clean := *u
	query := clean.Query()
	query.Del(roundParam)
	clean.RawQuery = query.Encode()
	return &clean
}

// clip quotes what is foreign.
func clip(s string) string { return k6x.ClipTo(s, 200) }
