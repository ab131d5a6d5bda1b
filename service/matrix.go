package service

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"

	"k6x"
	"k6x/history"
)

// matrix answers GET of /matrix. It asks nobody for versions: those are there that are known.
func (s *Service) matrix(w *response, r *http.Request) error {
	known := history.Known{Extensions: s.cfg.Resolver.Extensions(), Platforms: s.cfg.Version.Platforms}
	if s.cfg.Builds.Versions != nil {
		known.Versions = s.cfg.Builds.Versions()
	}
	q := r.URL.Query()
	body := &Matrix{Query: q}
	body.Cells, body.More = s.cfg.Builds.History.Matrix(q.Get("extension"), q.Get("k6"), q.Get("platform"), known)
	if s.wantsPage(r) {
		if err := body.arrange(s.cfg.Version.Platforms); err != nil {
			return err
		}
	}
	return s.show(w, r, "matrix", body)
}

// matrixRows is how many rows one page of the matrix has.
const matrixRows = 100

// arrange makes rows of the cells, and leaves those of one page.
func (m *Matrix) arrange(platforms []string) error {
	type key struct{ extension, version, k6 string }
	rows := make(map[key]*MatrixRow)
	for i := range m.Cells {
		c := &m.Cells[i]
		if !slices.Contains(platforms, c.Platform) { // that was built for once
			platforms = append(slices.Clip(platforms), c.Platform)
		}
	}
	if only := m.Query.Get("platform"); only != "" {
		platforms = slices.DeleteFunc(slices.Clone(platforms), func(p string) bool { return p != only })
	}
	for i := range m.Cells {
		c := &m.Cells[i]
		k := key{c.Extension, c.Version, c.K6}
		row := rows[k]
		if row == nil {
			row = &MatrixRow{Extension: c.Extension, Version: c.Version, K6: c.K6, Cells: make([]*history.Cell, len(platforms))}
			rows[k] = row
		}
		row.Cells[slices.Index(platforms, c.Platform)] = c
		row.Failing = row.Failing || c.Outcome == history.Failed || c.Outcome == history.Differs
	}
	for k := range rows {
		if k.k6 != "" { // then platforms on which it was not tried need no row of their own
			delete(rows, key{k.extension, k.version, ""})
		}
	}
	all := make([]MatrixRow, 0, len(rows))
	for _, row := range rows {
		all = append(all, *row)
	}
	slices.SortFunc(all, func(a, b MatrixRow) int {
		switch {
		case a.Failing != b.Failing && a.Failing:
			return -1
		case a.Failing != b.Failing:
			return 1
		}
		return cmp.Or(strings.Compare(a.Extension, b.Extension), semver.Compare(b.Version, a.Version), semver.Compare(b.K6, a.K6))
	})
	start := 0
	if text := m.Query.Get("cursor"); text != "" {
		n, err := strconv.ParseUint(text, 36, 31)
		if err != nil {
			return k6x.Errorf(k6x.Invalid, "cursor=%q is not one that a page had", k6x.Clip(text))
		}
		start = min(int(n), len(all))
	}
	end := min(start+matrixRows, len(all))
	m.Rows, m.Platforms, m.Total = all[start:end], platforms, len(all)
	if end < len(all) {
		next := maps.Clone(m.Query)
		next.Set("cursor", strconv.FormatInt(int64(end), 36))
		m.Next = next.Encode()
	}
	return nil
}
