package service

import (
	"errors"
	"net/http"

	"k6x"
)

// wireError is an error of the build API: words, and what is beneath them.
type wireError struct {
	Error  string     `json:"error"`
	Reason *wireError `json:"reason,omitempty"`
}

func nest(words ...string) *wireError {
	if len(words) == 0 {
		return nil
	}
	return &wireError{words[0], nest(words[1:]...)}
}

// unsatisfied reports whether an error of this kind is about what was asked for.
func unsatisfied(kind k6x.Kind) bool {
	return kind == k6x.Invalid || kind == k6x.NotFound || kind == k6x.Forbidden || kind == k6x.Conflict
}

// nestedForm is the one table from an error to its form in the build API (docs/contracts.md, sections 4
// and 6): the status, and the words around the reason. Whatever came of a request that
// could be read has status 200, also if the queue is full or the fault is ours: k6 shows its
// user the body of no other status, and does not try again. For clients that do, a
// Retry-After stays in the header.
func nestedForm(p Problem, path string) (status int, around []string) {
	switch {
	case p.Status == http.StatusMethodNotAllowed:
		return p.Status, []string{"invalid request"}
	case p.malformed:
		return http.StatusBadRequest, []string{"invalid request"}
	case p.kind == k6x.Unauthorized:
		return http.StatusUnauthorized, []string{"unauthorized"}
	case unsatisfied(p.kind):
		return http.StatusOK, []string{"cannot satisfy dependency", "invalid build parameters"}
	case path == resolvePath:
		return http.StatusOK, []string{"resolving failed"}
	}
	return http.StatusOK, []string{"build failed"}
}

// K6buildWords returns what k6build calls the fault of a request, "" if it has no words for it.
func K6buildWords(err error) string {
	for _, cause := range []error{k6x.ErrUnknownDependency, k6x.ErrInvalidConstraint, k6x.ErrInvalidPlatform} {
		if errors.Is(err, cause) {
			return cause.Error()
		}
	}
	return ""
}

// writeNested renders p for clients of the build API. The innermost reason is all that
// there is to say, in lines for a terminal.
func writeNested(w *response, r *http.Request, p Problem) {
	status, around := nestedForm(p, r.URL.Path)
	p.Build = "" // it is in the header
	nested := nest(append(around, p.text())...)
	var body []byte
	if r.URL.Path == resolvePath {
		body = encode(struct {
			Error        *wireError `json:"error"`
			Dependencies struct{}   `json:"dependencies"`
		}{Error: nested})
	} else {
		body = encode(struct {
			Error    *wireError `json:"error"`
			Artifact struct{}   `json:"artifact"`
		}{Error: nested})
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone needs no answer
}
