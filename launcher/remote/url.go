package remote

import (
	"net/url"
	"slices"
	"strings"

	"k6x"
)

// systems are those that Go builds for, so that a URL tells where its path of a service ends.
var systems = []string{
	"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows",
}

// ParseURL reads the URL of a binary at a service, and returns that of the service and what is
// wanted there. It is not ok if s is no URL; the error of one is of kind k6x.Invalid, or
// k6x.NotFound for a platform that there is not.
func ParseURL(s string) (service string, platform k6x.Platform, list k6x.List, ok bool, err error) {
	if !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
		return "", k6x.Platform{}, nil, false, nil
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

// SameHost reports whether two URLs are of one host, spoken to in the same way, so that what is meant for
// the one may be told to the other.
func SameHost(a, b string) bool {
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA == nil && errB == nil && ua.Scheme == ub.Scheme && ua.Host == ub.Host
}
