package service

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"k6x/service/pages"
)

// withPages are the paths of which JSON is also at the same path with [jsonSuffix]. All but /extensions have a page.
var withPages = []string{"/", "/extensions", "/builds", "/builds/{id}", "/matrix", "/changes", "/status", "/help"}

// jsonSuffix is for clients that cannot set a header. That of / is /index.json.
const jsonSuffix = ".json"

// show answers with a value: as a page to a browser, else as JSON.
func (s *Service) show(w *response, r *http.Request, page string, value any) error {
	w.Header().Add("Vary", "Accept")
	if s.wantsPage(r) {
		return s.render(w, r, http.StatusOK, page, value)
	}
	return writeStatus(w, http.StatusOK, value)
}

// wantsPage reports whether a client names text/html and likes nothing of what else there is better.
func (s *Service) wantsPage(r *http.Request) bool {
	accept := r.Header.Values("Accept")
	return s.pages != nil && names(accept, "text/html") && preferred(accept, "application/json", "text/plain", "text/html") == "text/html"
}

// names reports whether the values of Accept have a media type by its name.
func names(accept []string, media string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(accept, ","), ","), func(item string) bool {
		kind, _, err := mime.ParseMediaType(item)
		return err == nil && kind == media
	})
}

// render answers with a page. On an error nothing is written.
func (s *Service) render(w *response, r *http.Request, status int, name string, value any) error {
	query := r.URL.RawQuery
	if _, err := url.ParseQuery(query); err != nil { // what is malformed in it counts for handlers as nothing, too
		query = r.URL.Query().Encode()
	}
	var body bytes.Buffer
	err := s.pages.Render(&body, pages.Page{
		Name: name, Origin: s.absolute(r, ""), Query: query, Token: s.cfg.Tokens != nil, Data: value,
	})
	if err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pages.Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept-Encoding")
	// Nothing in a page is secret, so that its length may tell of it.
	if quality, identity := weights(r.Header.Values("Accept-Encoding")); status == http.StatusOK && quality("gzip") > identity {
		var small bytes.Buffer
		z, _ := gzip.NewWriterLevel(&small, gzip.BestSpeed) // a valid level
		_, _ = z.Write(body.Bytes())                        // into memory
		_ = z.Close()
		body = small
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // a client that is gone needs no answer
	return nil
}

// asset answers GET of /assets/{digest}/{name}.
func (s *Service) asset(w *response, r *http.Request) error {
	w.outcome = "page"
	if s.pages == nil || !s.pages.Asset(w, r, chi.URLParam(r, "digest"), chi.URLParam(r, "name")) {
		return notFound(w, r)
	}
	return nil
}

// plainJSON returns r without the suffix that asks for JSON, if its path has one and has a page without it.
func (s *Service) plainJSON(r *http.Request) *http.Request {
	path, ok := strings.CutSuffix(r.URL.Path, jsonSuffix)
	if path == "/index" {
		path = "/"
	}
	if !ok || !slices.Contains(withPages, s.router.Find(chi.NewRouteContext(), http.MethodGet, path)) {
		return r
	}
	inner, u := *r, *r.URL
	u.Path, u.RawPath = path, ""
	inner.URL, inner.Header = &u, r.Header.Clone()
	inner.Header.Set("Accept", "application/json")
	return &inner
}
