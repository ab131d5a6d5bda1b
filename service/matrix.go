package service

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/semver"

	"k6x"
	"k6x/history"
	"k6x/resolver"
)

// matrix answers GET of /matrix. It asks nobody for versions: those are there that are known.
func (s *Service) matrix(w *response, r *http.Request) error {
	q := r.URL.Query()
	g := s.grid(q)
	if !s.wantsPage(r) {
		w.Header().Add("Vary", "Accept")
		text, err := g.text()
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, text)
	}
	body := &Matrix{Query: q, Cells: g.cells, More: g.more, Platforms: g.platforms, Total: len(g.rows)}
	if err := body.turnTo(g.rows); err != nil {
		return err
	}
	return s.show(w, r, "matrix", body)
}

// grid is a matrix in rows; it does not change.
type grid struct {
	cells     []history.Cell
	more      bool                   // cells are left out
	platforms []string               // the columns
	rows      []MatrixRow            // those with a failure first
	text      func() ([]byte, error) // its JSON, which is made once
}

// grids has the grid without filters, which is made once for each change of what is in it.
type grids struct {
	mu       sync.Mutex // guards what follows
	whole    *grid
	changes  int64
	offers   []resolver.Offer
	versions map[string][]string
}

// grid returns the one that a query wants.
func (s *Service) grid(q url.Values) *grid {
	extension, k6, platform := q.Get("extension"), q.Get("k6"), q.Get("platform")
	h, offers := s.cfg.Builds.History, s.cfg.Resolver.Offers()
	known, changes := history.Known{Platforms: s.cfg.Version.Platforms}, h.Changed()
	if s.cfg.Builds.Versions != nil {
		known.Versions = s.cfg.Builds.Versions()
	}
	draw := func() *grid {
		known.Extensions = s.cfg.Resolver.Extensions()
		g := &grid{platforms: known.Platforms}
		if platform != "" {
			g.platforms = []string{platform}
		}
		g.cells, g.more = h.Matrix(extension, k6, platform, known)
		g.arrange()
		g.text = sync.OnceValues(func() ([]byte, error) { return encodeJSON(&Matrix{Cells: g.cells, More: g.more}) })
		return g
	}
	if extension != "" || k6 != "" || platform != "" {
		return draw()
	}
	c := &s.grids
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole == nil || c.changes != changes || !sameOffers(c.offers, offers) || !maps.EqualFunc(c.versions, known.Versions, slices.Equal) {
		c.whole, c.changes, c.offers, c.versions = draw(), changes, offers, known.Versions
	}
	return c.whole
}

// arrange makes rows of the cells, which are in the order of extension, version and k6.
func (g *grid) arrange() {
	for _, c := range g.cells {
		if !slices.Contains(g.platforms, c.Platform) { // that was built for once
			g.platforms = append(slices.Clip(g.platforms), c.Platform)
		}
	}
	for i := range g.cells {
		c, last := &g.cells[i], new(MatrixRow)
		if n := len(g.rows); n > 0 {
			last = &g.rows[n-1]
		}
		same := last.Extension == c.Extension && last.Version == c.Version
		if !same || last.K6 != c.K6 || last.Cells == nil {
			if same && last.K6 == "" && last.Cells != nil { // then platforms on which it was not tried need no row of their own
				g.rows = g.rows[:len(g.rows)-1]
			}
			g.rows = append(g.rows, MatrixRow{Extension: c.Extension, Version: c.Version, K6: c.K6, Cells: make([]*history.Cell, len(g.platforms))})
			last = &g.rows[len(g.rows)-1]
		}
		last.Cells[slices.Index(g.platforms, c.Platform)] = c
		last.Failing = last.Failing || c.Outcome == history.Failed || c.Outcome == history.Differs
	}
	slices.SortFunc(g.rows, func(a, b MatrixRow) int {
		switch {
		case a.Failing != b.Failing && a.Failing:
			return -1
		case a.Failing != b.Failing:
			return 1
		case a.Extension != b.Extension:
			return strings.Compare(a.Extension, b.Extension)
		}
		return cmp.Or(semver.Compare(b.Version, a.Version), semver.Compare(b.K6, a.K6))
	})
}

// matrixRows is how many rows one page of the matrix has.
const matrixRows = 100

// turnTo leaves the rows of the page that the query names.
func (m *Matrix) turnTo(rows []MatrixRow) error {
	start := 0
	if text := m.Query.Get("cursor"); text != "" {
		n, err := strconv.ParseUint(text, 36, 31)
		if err != nil {
			return k6x.Errorf(k6x.Invalid, "cursor=%q is not one that a page had", k6x.Clip(text))
		}
		start = min(int(n), len(rows))
	}
	end := min(start+matrixRows, len(rows))
	m.Rows = rows[start:end]
	if end < len(rows) {
		next := maps.Clone(m.Query)
		next.Set("cursor", strconv.FormatInt(int64(end), 36))
		m.Next = next.Encode()
	}
	return nil
}
