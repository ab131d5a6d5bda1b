package client

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"k6x"
)

const maxAnswer = 64 << 10 // bytes read of an answer that is no binary

// problem is the description of a failure (RFC 9457, with members of the service's own).
type problem struct {
	Detail string `json:"detail"`
	Title  string `json:"title"`
	Kind   string `json:"kind"`
	Hint   string `json:"hint"`
	Log    string `json:"log"`
	Build  string `json:"build"`
}

// kinds are those of errors by their status, for an answer that names no kind.
var kinds = map[int]k6x.Kind{
	http.StatusBadRequest:          k6x.Invalid,
	http.StatusUnauthorized:        k6x.Unauthorized,
	http.StatusForbidden:           k6x.Forbidden,
	http.StatusNotFound:            k6x.NotFound,
	http.StatusConflict:            k6x.Conflict,
	http.StatusUnprocessableEntity: k6x.BuildFailed,
	http.StatusTooManyRequests:     k6x.Quota,
	http.StatusGatewayTimeout:      k6x.Timeout,
	http.StatusInsufficientStorage: k6x.NoSpace,
}

// refused returns the error for an answer that is not the one that was asked for, in the words of the
// service if it has any.
func (c *Client) refused(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // only words for the error
	p := parseProblem(resp, body)
	var kind k6x.Kind
	known := kind.UnmarshalText([]byte(p.Kind)) == nil
	if !known {
		kind = kinds[resp.StatusCode]
	}
	switch kind {
	case k6x.Internal: // a fault of the service, not of this program; or it is not told
		kind = k6x.Unavailable
	case k6x.Canceled: // by the service
		kind = k6x.Busy
	}
	host := resp.Request.URL.Host
	if !known && p.Detail == "" && resp.StatusCode < http.StatusInternalServerError && kind != k6x.Unauthorized && kind != k6x.Quota {
		// A service says why. So this is another program, such as a proxy, and others may do better.
		kind, p.Hint = k6x.Unavailable, "Is the URL of the service right?"
	}
	e := &k6x.Error{Kind: kind, Message: k6x.Printable(strings.TrimSpace(p.Detail)), Hint: k6x.Printable(strings.TrimSpace(p.Hint))}
	if e.Message == "" {
		e.Message = host + " answers " + k6x.Printable(resp.Status)
	} else if !known || resp.StatusCode >= http.StatusInternalServerError {
		e.Message = host + ": " + e.Message
	}
	if uuid.Validate(p.Build) == nil {
		e.Build = p.Build
	}
	if kind == k6x.Unauthorized {
		e.Hint = cmp.Or(c.NoToken, e.Hint)
	}
	if p.Log != "" {
		e.Hint = strings.TrimSpace(e.Hint + "\nThe whole log is at " + clip(p.Log))
	}
	if !isTemporary(resp.StatusCode, kind) {
		return e
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // which the words of a service say too
	return &temporary{err: e, after: time.Duration(min(max(0, seconds), 3600)) * time.Second}
}

// isTemporary reports whether a failure may be gone the next time. One that took as long as the
// service lets it take comes again after as long.
func isTemporary(status int, kind k6x.Kind) bool {
	return status == http.StatusTooManyRequests || status == http.StatusInternalServerError || status == http.StatusBadGateway ||
		status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout && kind != k6x.Timeout
}

// parseProblem reads the document, or the lines, that an answer explains itself with.
func parseProblem(resp *http.Response, body []byte) problem {
	var p problem
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch media {
	case "application/problem+json", "application/json":
		if json.Unmarshal(body, &p) != nil {
			return problem{}
		}
		p.Detail = cmp.Or(p.Detail, p.Title)
	case "text/plain":
		first, rest, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		p.Detail, p.Hint = first, rest
	}
	return p
}

// digestOf returns the digest that an answer announces, as hex: that of Repr-Digest (RFC 9530), and of an
// ETag that is one. It is "" if there is none; if they differ, an error.
func digestOf(h http.Header) (string, error) {
	digest := ""
	for item := range strings.SplitSeq(strings.Join(h.Values("Repr-Digest"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		value, _, _ = strings.Cut(value, ";")
		if !strings.EqualFold(name, "sha-256") {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(strings.Trim(value, ":"))
		if err != nil || len(sum) != 32 || digest != "" {
			return "", k6x.Errorf(k6x.Unavailable, "the service announces a digest that is none")
		}
		digest = hex.EncodeToString(sum)
	}
	tag := strings.Trim(strings.TrimPrefix(h.Get("Etag"), "W/"), `"`)
	if k6x.CheckKey(tag) != nil { // anything else is an ETag too
		return digest, nil
	}
	if digest != "" && digest != tag {
		return "", k6x.Errorf(k6x.Unavailable, "the service announces two digests, %s and %s", digest, tag)
	}
	return tag, nil
}
