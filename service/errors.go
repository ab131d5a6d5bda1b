package service

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"k6x"
)

// statuses is the one table from error kind to HTTP status (docs/contracts.md, section 1).
var statuses = map[k6x.Kind]int{
	k6x.Internal:     http.StatusInternalServerError,
	k6x.Invalid:      http.StatusBadRequest,
	k6x.NotFound:     http.StatusNotFound,
	k6x.Unauthorized: http.StatusUnauthorized,
	k6x.Forbidden:    http.StatusForbidden,
	k6x.Conflict:     http.StatusConflict,
	k6x.BuildFailed:  http.StatusUnprocessableEntity,
	k6x.Quota:        http.StatusTooManyRequests,
	k6x.Busy:         http.StatusServiceUnavailable,
	k6x.Unavailable:  http.StatusServiceUnavailable,
	k6x.Timeout:      http.StatusGatewayTimeout,
	k6x.NoSpace:      http.StatusInsufficientStorage,
	k6x.Gone:         http.StatusGone,
	k6x.Canceled:     http.StatusServiceUnavailable, // not by this client, or no answer is read
}

// defaultRetry is when a client may try again if the error does not say.
var defaultRetry = map[int]time.Duration{http.StatusServiceUnavailable: 10 * time.Second, http.StatusTooManyRequests: 10 * time.Second}

// maxText bounds each of the two texts of an error that a client gets.
const maxText = 16 << 10

// Problem is an error as a client gets it: an RFC 9457 problem with members of ours.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Kind   string `json:"kind"`
	Hint   string `json:"hint,omitempty"`
	Log    string `json:"log,omitempty"`   // URL of the whole log of a failed build
	Build  string `json:"build,omitempty"` // id of the one that failed
	ID     string `json:"request_id"`

	kind      k6x.Kind
	malformed bool // the request could not even be read
}

// fail writes the error of a request for a binary or a page.
func (s *Service) fail(w *response, r *http.Request, err error) {
	s.writeProblem(w, r, s.problem(w, r, err))
}

// problem is what the client of r gets to know of err.
func (s *Service) problem(w *response, r *http.Request, err error) Problem {
	p := s.front.problem(w, r, err)
	if p.Build != "" {
		w.joined(p.Build)
	}
	if logged, ok := errors.AsType[*loggedError](err); ok {
		p.Log = s.absolute(r, logged.path)
	}
	return p
}

// problem turns err into what a client gets to know of it, for any form of answer. What
// the client must not see goes to the log. It sets the headers that go with the kind,
// and aborts the request if an answer would come too late.
func (f *front) problem(w *response, r *http.Request, err error) Problem {
	kind := k6x.KindOf(err)
	w.outcome = kind.String()
	if kind == k6x.Canceled && r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // no client is there to read an answer, and none may look like a success
	}
	e := k6x.AsError(err)
	p := Problem{kind: kind, Status: statuses[kind], Detail: k6x.ClipTo(e.Message, maxText), Kind: kind.String(), Hint: k6x.ClipTo(e.Hint, maxText), Build: e.Build, ID: w.id}
	level := slog.LevelInfo
	switch kind {
	case k6x.Internal:
		level = slog.LevelError
		p.Detail = "something went wrong in this service"
		p.Hint = "Its log tells more under the request id " + w.id + "."
	case k6x.Unavailable, k6x.NoSpace, k6x.Timeout:
		level = slog.LevelWarn
	}
	_, p.malformed = errors.AsType[*malformed](err)
	if allowed := allowedMethods(err); allowed != nil {
		p.Status, p.Kind, p.Hint, p.malformed = http.StatusMethodNotAllowed, methodNotAllowed, "Use "+strings.Join(allowed, " or ")+".", true
		w.outcome = methodNotAllowed
		w.Header().Set("Allow", strings.Join(allowed, ", "))
	}
	w.reason = k6x.ClipTo(err.Error(), maxLogged)
	if level > slog.LevelInfo {
		f.logger.Log(r.Context(), level, "request failed", "id", w.id, "kind", kind.String(), "error", w.reason, "cause", errors.Unwrap(e))
	}
	if w.status != 0 {
		panic(http.ErrAbortHandler) // too late for another answer: cut this one short rather than let it pass
	}
	if again := cmp.Or(e.RetryAfter, defaultRetry[p.Status]); again > 0 { // the words say what the header says
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(again.Seconds()))))
		p.Hint = (&k6x.Error{Hint: p.Hint, RetryAfter: again}).Advice()
	}
	if kind == k6x.Unauthorized {
		w.Header().Set("Www-Authenticate", `Bearer realm="k6x"`)
	}
	return p
}

// text returns the problem in plain lines.
func (p Problem) text() string {
	lines := p.Detail
	if p.Hint != "" {
		lines += "\n" + p.Hint
	}
	if p.Build != "" {
		lines += "\nBuild: " + p.Build
	}
	if p.Log != "" {
		lines += "\nThe whole log is at " + p.Log
	}
	return lines
}

// writeProblem renders p as the client prefers: text, a problem document or a page.
func (s *Service) writeProblem(w *response, r *http.Request, p Problem) {
	p.Title = http.StatusText(p.Status)
	h := w.Header()
	h.Del("Content-Length")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Accept")
	offers := []string{"text/plain", "application/problem+json", "application/json", "text/html"}
	if s.pages == nil {
		offers = offers[:3]
	}
	var body bytes.Buffer
	switch preferred(r.Header.Values("Accept"), offers...) {
	case "text/html":
		err := s.render(w, r, p.Status, "error", s.errorPage(w, r, p))
		if err == nil {
			return
		}
		s.logger.Error("an error has no page", "id", w.id, "error", err)
		fallthrough
	default:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(&body, p.text())
	case "application/problem+json", "application/json":
		h.Set("Content-Type", "application/problem+json")
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		_ = enc.Encode(p) // a struct of strings into memory
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body.Bytes()) // a client that is gone needs no answer
}

// errorPage is what a browser is shown of p.
func (s *Service) errorPage(w *response, r *http.Request, p Problem) *ErrorPage {
	page := &ErrorPage{Problem: p, Topic: strings.ReplaceAll(p.Kind, "_", "-"), Path: k6x.ClipTo(r.URL.EscapedPath(), maxLogged)}
	if platform, list, err := k6x.ParsePath(cmp.Or(w.asked, r.URL.Path)); err == nil {
		page.Query = alternative(platform, list).Query
	}
	return page
}

// preferred returns the first of offers that the Accept headers give the highest
// quality; the first offer if they accept none, since an error has to be told somehow.
func preferred(accept []string, offers ...string) string {
	best, quality := offers[0], 0.0
	for _, offer := range offers {
		if q := acceptQuality(accept, offer); q > quality {
			best, quality = offer, q
		}
	}
	return best
}

// acceptQuality returns the quality (RFC 9110, 12.5.1) that accept gives a media type: that
// of the most specific range that matches it.
func acceptQuality(accept []string, offer string) float64 {
	kind, _, _ := strings.Cut(offer, "/")
	ranges := []string{"*/*", kind + "/*", offer} // by rising specificity
	specific, quality := -1, 0.0
	for item := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		media, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		if at := slices.Index(ranges, media); at > specific {
			specific, quality = at, 1
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil {
				quality = q
			}
		}
	}
	return quality
}
