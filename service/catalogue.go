package service

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/semver"

	"k6x"
	"k6x/history"
	"k6x/resolver"
)

// Bounds of a search, and of its answer.
const (
	maxSearch  = 200      // bytes
	maxWords   = 8        // more are passed over
	maxOffers  = 200      // extensions in one answer
	someOffers = 24       // without a limit
	maxListed  = 50       // versions of one extension, the newest
	maxQuery   = 16 << 10 // bytes of the query of a page
)

// Bounds of what is looked up in the background.
const (
	maxWanted   = 200  // extensions that wait for it
	keptBegun   = 2000 // that are remembered
	lookUpAgain = 10 * time.Minute
)

// want has what is not known of extensions found out, so that it is when they are shown again. While the module proxy is away, nobody asks it.
func (s *Service) want(extensions []Extension) {
	now := time.Now()
	for _, e := range extensions {
		if at, ok := s.begun.Get(e.Name); e.K6 != "" || ok && now.Sub(at) < lookUpAgain || now.UnixNano() < s.asking.Load() {
			continue
		}
		select {
		case s.wanted <- e:
			s.begun.Add(e.Name, now)
		default:
			return
		}
	}
}

// LookUp finds out what k6 the newest versions of extensions need that were shown, one after the other, until ctx ends. Several calls do so at once.
func (s *Service) LookUp(ctx context.Context) {
	for {
		select {
		case e := <-s.wanted:
			versions := e.Versions
			if len(versions) == 0 {
				versions, _ = s.cfg.Resolver.VersionsOf(ctx, e.Name) // why there are none a choice of it tells
			}
			if newest := newestOf(versions); newest != "" {
				_ = s.cfg.Resolver.FetchNeededK6(ctx, e.Module, newest)
			}
		case <-ctx.Done():
			return
		}
	}
}

// catalogue is what can be found in the offers of the registries; it does not change.
type catalogue struct {
	offers []resolver.Offer
	texts  []string // in lower case, by offer: what a search looks into
	fit    []int    // offers: official ones first, then those with most stars
	stars  []int
	newest []int
	tiers  []Facet
	kinds  []Facet
}

// catalogues makes one of the offers when these have changed.
type catalogues struct {
	mu   sync.Mutex // guards what follows
	last *catalogue
}

func (c *catalogues) of(offers []resolver.Offer) *catalogue {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || !sameOffers(c.last.offers, offers) {
		c.last = newCatalogue(offers)
	}
	return c.last
}

// sameOffers reports whether the registries have not changed between two answers of [resolver.Resolver.Offers].
func sameOffers(a, b []resolver.Offer) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func newCatalogue(offers []resolver.Offer) *catalogue {
	c := &catalogue{offers: offers, texts: make([]string, len(offers))}
	tiers, kinds := map[string]int{}, map[string]int{}
	all := make([]int, len(offers))
	for i, o := range offers {
		all[i] = i
		c.texts[i] = strings.ToLower(strings.Join(append(slices.Clone(o.Names), o.Module, o.Description, o.Author), "\n"))
		if o.Tier != "" {
			tiers[o.Tier]++
		}
		for _, kind := range o.Kinds {
			kinds[kind]++
		}
	}
	sorted := func(order func(a, b resolver.Offer) int) []int {
		list := slices.Clone(all) // by name
		slices.SortStableFunc(list, func(a, b int) int { return order(offers[a], offers[b]) })
		return list
	}
	byStars := func(a, b resolver.Offer) int { return cmp.Compare(b.Stars, a.Stars) }
	c.stars, c.newest = sorted(byStars), sorted(func(a, b resolver.Offer) int { return b.Updated.Compare(a.Updated) })
	c.fit = sorted(func(a, b resolver.Offer) int {
		return cmp.Or(cmp.Compare(tierRank(a.Tier), tierRank(b.Tier)), byStars(a, b))
	})
	c.tiers, c.kinds = facets(tiers), facets(kinds)
	return c
}

func tierRank(tier string) int {
	if i := slices.Index([]string{"official", "partner", "community"}, tier); i >= 0 {
		return i
	}
	return 3
}

// facets returns counts, the highest first; registries can say whatever they like, so that there are not many.
func facets(counts map[string]int) []Facet {
	var list []Facet
	for value, count := range counts {
		list = append(list, Facet{value, count})
	}
	slices.SortFunc(list, func(a, b Facet) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
	return list[:min(len(list), 10)]
}

// find returns the offers that a search wants, in its order.
func (c *catalogue) find(s Search) []int {
	order := c.fit
	switch s.Sort {
	case "stars":
		order = c.stars
	case "newest":
		order = c.newest
	}
	words := strings.Fields(strings.ToLower(s.Text))
	words = words[:min(len(words), maxWords)]
	var found []int
	for n := range c.offers {
		i := n // by name
		if s.Sort != "name" {
			i = order[n]
		}
		o := &c.offers[i]
		if (s.Tier == "" || o.Tier == s.Tier) && (s.Kind == "" || slices.Contains(o.Kinds, s.Kind)) &&
			!slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(c.texts[i], w) }) {
			found = append(found, i)
		}
	}
	if s.Sort == "" && len(words) > 0 {
		rank := make(map[int]int, len(found))
		for _, i := range found {
			rank[i] = match(c.offers[i], words)
		}
		slices.SortStableFunc(found, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
	}
	return found
}

// match returns how well the names of an offer go with words, 0 being best.
func match(o resolver.Offer, words []string) int {
	best := 3
	for _, name := range o.Names {
		name = strings.ToLower(name)
		last := name[strings.LastIndexAny(name, "/:")+1:]
		switch first := words[0]; {
		case name == first || last == first:
			return 0
		case strings.HasPrefix(last, first) || strings.HasPrefix(name, first):
			best = min(best, 1)
		case strings.Contains(name, first):
			best = min(best, 2)
		}
	}
	return best
}

// listExtensions answers GET of /extensions.
func (s *Service) listExtensions(w *response, r *http.Request) error {
	w.outcome = "catalogue"
	if len(r.URL.RawQuery) > maxQuery {
		return k6x.Errorf(k6x.Invalid, "the query of %d bytes is too long", len(r.URL.RawQuery))
	}
	q := r.URL.Query()
	extensions, err := s.extensions(q, s.mayRead(r) == nil)
	if err != nil {
		return err
	}
	s.want(extensions.Extensions)
	return writeStatus(w, http.StatusOK, extensions)
}

// extensions returns those that a query wants; with what came of building them, if that may be seen.
func (s *Service) extensions(q url.Values, outcomes bool) (page Extensions, err error) {
	search, start, limit, err := parseSearch(q)
	if err != nil {
		return page, err
	}
	c := s.offers.of(s.cfg.Resolver.Offers())
	found := c.find(search)
	page = Extensions{Search: search, Extensions: []Extension{}, Total: len(found), All: len(c.offers), Tiers: c.tiers, Kinds: c.kinds}
	start = min(start, len(found))
	end := min(start+limit, len(found))
	if end < len(found) {
		page.Cursor = strconv.FormatInt(int64(end), 36)
	}
	var watched map[string][]string
	if s.cfg.Builds.Versions != nil {
		watched = s.cfg.Builds.Versions()
	}
	for _, i := range found[start:end] {
		page.Extensions = append(page.Extensions, s.extension(c.offers[i], watched))
	}
	if outcomes {
		s.addOutcomes(page.Extensions)
	}
	return page, nil
}

// parseSearch reads the parameters of a search. Errors are of kind Invalid.
func parseSearch(q url.Values) (search Search, start, limit int, err error) {
	wrong := func(name, rule string) error {
		return k6x.Errorf(k6x.Invalid, "%s=%q is not %s", name, k6x.Clip(q.Get(name)), rule)
	}
	search = Search{Text: strings.TrimSpace(k6x.Printable(q.Get("q"))), Tier: q.Get("tier"), Kind: q.Get("kind"), Sort: q.Get("sort")}
	switch {
	case len(search.Text) > maxSearch:
		return search, 0, 0, wrong("q", fmt.Sprintf("at most %d bytes", maxSearch))
	case len(search.Tier) > maxSearch:
		return search, 0, 0, wrong("tier", "a tier of the registry")
	case !slices.Contains([]string{"", "javascript", "output", "subcommand"}, search.Kind):
		return search, 0, 0, wrong("kind", "javascript, output or subcommand")
	case !slices.Contains([]string{"", "name", "stars", "newest"}, search.Sort):
		return search, 0, 0, wrong("sort", "name, stars or newest")
	}
	limit = someOffers
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxOffers {
			return search, 0, 0, wrong("limit", fmt.Sprintf("a number up to %d", maxOffers))
		}
	}
	if text := q.Get("cursor"); text != "" {
		n, err := strconv.ParseInt(text, 36, 32)
		if err != nil || n < 0 {
			return search, 0, 0, wrong("cursor", "one that an answer had")
		}
		start = int(n)
	}
	return search, start, limit, nil
}

// extension returns what is told of an offer. Watched has versions by name.
func (s *Service) extension(o resolver.Offer, watched map[string][]string) Extension {
	versions := o.Versions
	if versions == nil {
		versions = s.cfg.Resolver.KnownVersions(o.Names[0])
	}
	if versions == nil {
		versions = watched[o.Names[0]]
	}
	e := Extension{
		Name: o.Names[0], Names: o.Names[1:], Module: o.Module, Kinds: o.Kinds, Description: o.Description, Author: o.Author, Tier: o.Tier,
		License: o.License, Repository: o.Repository, Stars: o.Stars, Updated: o.Updated, Archived: o.Archived, Cgo: o.Cgo, Constraint: o.Constraint,
		Versions: versions[:min(len(versions), maxListed)],
	}
	if newest := newestOf(versions); newest != "" {
		e.K6, e.Issues = s.cfg.Resolver.NeededK6(o.Module, newest), o.Issues(newest)
	}
	return e
}

// newestOf returns the newest version that was released, else the newest of all; "" if there is none.
func newestOf(versions []string) string {
	if i := slices.IndexFunc(versions, func(v string) bool { return semver.Prerelease(v) == "" }); i >= 0 {
		return versions[i]
	}
	return slices.Concat(versions, []string{""})[0]
}

// addOutcomes adds what came of building the newest version of each.
func (s *Service) addOutcomes(extensions []Extension) {
	if s.cfg.Builds.History == nil {
		return
	}
	for i := range extensions {
		e := &extensions[i]
		e.Outcome = string(history.Untried)
		if last := s.cfg.Builds.History.Alone(history.Module{Name: e.Name, Version: newestOf(e.Versions)}); last != nil {
			e.Outcome, e.Build, e.BuildError = string(last.Outcome), last.ID, last.Error
		}
	}
}
