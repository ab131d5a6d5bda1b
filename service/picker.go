package service

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/history"
	"k6x/resolver"
)

// Bounds of what is looked up for a page.
const (
	versionsTime = 3 * time.Second  // for lists of versions, without which an answer is of use, too
	memoryTime   = time.Minute      // for which these are taken from memory once that was not enough, so that answers are quick
	choiceTime   = 20 * time.Second // for what was chosen, in JSON
	pageTime     = 3 * time.Second  // and for a page, which looks again
	mostChosen   = 40               // extensions
	maxChosen    = 500              // bytes of one
)

// index answers GET of /: the picker, or how to use the service in a few lines.
func (s *Service) index(w *response, r *http.Request) error {
	if offers := []string{"text/plain", "application/json"}; !s.wantsPage(r) && preferred(r.Header.Values("Accept"), offers...) == "text/plain" {
		return s.usage(w, r)
	}
	w.outcome = "picker"
	if len(r.URL.RawQuery) > maxQuery {
		return k6x.Errorf(k6x.Invalid, "the query of %d bytes is too long", len(r.URL.RawQuery))
	}
	picker, err := s.picker(r)
	if err != nil {
		return err
	}
	return s.show(w, r, "picker", picker)
}

// partFound is what the script of the page asks for of / while a search is typed: only what it finds.
const partFound = "found"

// picker returns what / shows. Errors are those of a malformed query; what cannot be built is told in the value.
func (s *Service) picker(r *http.Request) (*Picker, error) {
	q := r.URL.Query()
	page := &Picker{Platforms: s.cfg.Version.Platforms, K6: []string{}, NeedsToken: s.cfg.Tokens != nil}
	var err error
	readable := s.mayRead(r) == nil
	if page.Extensions, err = s.extensions(q, readable); err != nil {
		return nil, err
	}
	c := &page.Choice
	if *c, err = s.parseChoice(r, q); err != nil {
		return nil, err
	}
	if q.Get("part") != partFound {
		wanted := []string{k6x.K6}
		for _, chosen := range c.With {
			wanted = append(wanted, chosen.Name)
		}
		var lists [][]string
		var looking sync.WaitGroup
		looking.Go(func() { lists = s.versions(r.Context(), wanted) })
		s.describe(r, c, readable)
		looking.Wait()
		page.K6 = lists[0]
		for i := range c.With {
			c.With[i].Versions = lists[i+1]
		}
		s.want(page.Extensions.Extensions)
	}
	for i := range page.Extensions.Extensions {
		e := &page.Extensions.Extensions[i]
		e.Chosen = slices.ContainsFunc(c.With, func(chosen Chosen) bool { return chosen.Name == e.Name })
		if e.Query = c.without(e.Name).encode(); !e.Chosen {
			more := *c
			more.With = append(slices.Clip(c.With), Chosen{Name: e.Name})
			e.Query = more.encode()
		}
	}
	return page, nil
}

// parseChoice reads a choice from a query. Errors are of kind Invalid; that a name or a version is malformed is none.
func (s *Service) parseChoice(r *http.Request, q url.Values) (c Choice, err error) {
	for name, values := range q { // which come back in the answer
		for i, value := range values {
			if values[i] = strings.TrimSpace(k6x.Printable(value)); len(values[i]) > maxChosen {
				return c, k6x.Errorf(k6x.Invalid, "%s=%s is longer than %d bytes", k6x.Clip(name), k6x.Clip(value), maxChosen)
			}
		}
	}
	c = Choice{K6: q.Get("k6"), Platform: q.Get("platform"), With: []Chosen{}}
	if c.Platform == "" {
		c.Platform = s.guessPlatform(r.UserAgent())
	}
	versions := map[string]string{}
	for _, item := range q["version"] {
		name, version := nameAndVersion(item)
		versions[name] = version
	}
	for _, item := range q["with"] {
		name, version := nameAndVersion(item)
		if other, ok := versions[name]; ok {
			version = other
		}
		at := slices.IndexFunc(c.With, func(chosen Chosen) bool { return chosen.Name == name })
		switch {
		case name == "" || slices.Contains(q["remove"], name):
		case name == k6x.K6:
			c.K6 = version
		case at >= 0:
			c.With[at].Version = version
		default:
			c.With = append(c.With, Chosen{Name: name, Version: version})
		}
	}
	if len(c.With) > mostChosen {
		return c, k6x.Errorf(k6x.Invalid, "%d extensions are chosen, which is more than %d", len(c.With), mostChosen)
	}
	slices.SortFunc(c.With, func(a, b Chosen) int { return strings.Compare(a.Name, b.Name) })
	c.Query = c.encode()
	for i := range c.With {
		c.With[i].Query = c.without(c.With[i].Name).encode()
	}
	return c, nil
}

// nameAndVersion cuts NAME@VERSION at its @; there may be no version.
func nameAndVersion(item string) (name, version string) {
	name, version, _ = strings.Cut(item, "@")
	return strings.TrimSpace(name), strings.TrimSpace(version)
}

// guessPlatform returns the platform of a browser, as far as it says.
func (s *Service) guessPlatform(agent string) string {
	guess := "linux/amd64"
	switch {
	case strings.Contains(agent, "Windows"):
		guess = "windows/amd64"
	case strings.Contains(agent, "Macintosh"):
		guess = "darwin/arm64"
	case strings.Contains(agent, "aarch64"):
		guess = "linux/arm64"
	}
	offered := s.cfg.Version.Platforms
	if slices.Contains(offered, guess) || len(offered) == 0 {
		return guess
	}
	system, _, _ := strings.Cut(guess, "/")
	return offered[max(0, slices.IndexFunc(offered, func(p string) bool { return strings.HasPrefix(p, system+"/") }))]
}

// encode returns the choice as a query.
func (c Choice) encode() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+readable.Replace(url.QueryEscape(value)))
		}
	}
	for _, chosen := range c.With {
		if chosen.Version == "" {
			add("with", chosen.Name)
		} else {
			add("with", chosen.Name+"@"+chosen.Version)
		}
	}
	add("k6", c.K6)
	add("platform", c.Platform)
	return strings.Join(parts, "&")
}

// readable undoes escapes that a query need not have.
var readable = strings.NewReplacer("%2F", "/", "%40", "@", "%3A", ":")

// without returns the choice without an extension.
func (c Choice) without(name string) Choice {
	c.With = slices.DeleteFunc(slices.Clone(c.With), func(chosen Chosen) bool { return chosen.Name == name })
	return c
}

// list returns the choice as a list.
func (c Choice) list() (k6x.Platform, k6x.List, error) {
	platform, err := k6x.ParsePlatform(c.Platform)
	if err != nil {
		return platform, nil, err
	}
	var deps []k6x.Dependency
	for _, chosen := range append([]Chosen{{Name: k6x.K6, Version: c.K6}}, c.With...) {
		dep, err := k6x.NewDependency(chosen.Name, chosen.Version)
		if err != nil {
			return platform, nil, err
		}
		deps = append(deps, dep)
	}
	list, err := k6x.NewList(deps...)
	return platform, list, err
}

// versions returns those that there are of each name, the newest first, as far as they are known soon.
func (s *Service) versions(ctx context.Context, names []string) [][]string {
	ctx, cancel := context.WithTimeout(ctx, versionsTime)
	defer cancel()
	asking := time.Now().UnixNano() >= s.asking.Load()
	lists := make([][]string, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			lists[i] = s.cfg.Resolver.KnownVersions(name)
			if !asking {
				return
			}
			found, err := s.cfg.Resolver.VersionsOf(ctx, name) // why there are none the choice says
			if err == nil {
				lists[i] = found
			} else if ctx.Err() != nil || k6x.KindOf(err) == k6x.Unavailable {
				s.asking.Store(time.Now().Add(memoryTime).UnixNano())
			}
		})
	}
	all.Wait()
	for i, list := range lists {
		lists[i] = append([]string{}, list[:min(len(list), maxListed)]...)
	}
	return lists
}

// describe adds what a choice comes to: the canonical path, or why there is none.
func (s *Service) describe(r *http.Request, c *Choice, readable bool) {
	limit := choiceTime
	if s.wantsPage(r) {
		limit = pageTime
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	platform, list, err := c.list()
	if err == nil {
		c.Asked = list.Path(platform)
		c.URL = s.absolute(r, c.Asked)
		if len(c.With) > 0 || c.K6 != "" {
			err = s.settle(ctx, r, c, platform, list)
		}
	}
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
		c.Pending = true
		err = k6x.Errorf(k6x.Timeout, "which versions go together is still being found out").
			WithHint("Look again in a moment: what was found out is kept. If it stays so, the module proxy does not answer.")
	}
	if err != nil {
		c.Problem = s.trouble(ctx, c, platform, list, err)
	}
	if c.Path != "" {
		c.URL = s.absolute(r, c.Path)
		if last := s.lastOf(c.Path); last != nil && readable {
			c.Build, c.Outcome = last.ID, string(last.Outcome)
		}
	}
	if c.Asked != "" {
		c.Commands = s.commands(r, c, platform)
	}
}

// lastOf returns the attempt to build a path that runs, else the last one; nil if none is known.
func (s *Service) lastOf(path string) *history.Result {
	if s.cfg.Builds.History == nil {
		return nil
	}
	for _, result := range append(s.cfg.Builds.Recorder.Running(), s.cfg.Builds.Live.Running()...) {
		if result.Path == path {
			return result
		}
	}
	return s.cfg.Builds.History.LastOf(path)
}

// settle resolves a choice, by the rules for its path: without a token, only what registries have.
func (s *Service) settle(ctx context.Context, r *http.Request, c *Choice, platform k6x.Platform, list k6x.List) error {
	token := s.cfg.Tokens.Check(r)
	if token != nil && !s.cfg.Resolver.Registered(list) {
		c.Token = true
		return token
	}
	var want resolved
	err := s.untilDrained(ctx, func(ctx context.Context) (err error) {
		want, err = s.permitted(ctx, platform, list)
		return err
	})
	if err != nil {
		return err
	}
	c.Path = want.canonical
	c.Warnings = append(s.cfg.Resolver.Warnings(append([]k6x.Module{want.recipe.K6}, want.recipe.Extensions...)), want.warnings...)
	for _, dep := range want.list {
		c.Modules = append(c.Modules, Chosen{Name: dep.Name, Version: dep.Constraint.Version()})
	}
	c.Token = token != nil && !want.bound // what was built once is open to all
	if want.bound {
		record, err := s.cfg.Store.Whole(ctx, want.recipe.Key())
		if c.Stored = err == nil; errors.Is(err, cache.ErrEvicted) {
			record, err = s.cfg.Store.Record(ctx, want.recipe.Key())
		}
		if err == nil {
			c.Digest, c.Size = record.Digest, record.Size
		}
	}
	return nil
}

// trouble says why a choice cannot be built, and what works.
func (s *Service) trouble(ctx context.Context, c *Choice, platform k6x.Platform, list k6x.List, err error) *Trouble {
	e := k6x.AsError(err)
	t := &Trouble{Kind: e.Kind.String(), Message: e.Message, Hint: e.Advice()}
	if e.Kind == k6x.Internal {
		s.cfg.Logger.Error("a choice cannot be resolved", "asked", c.Asked, "error", err)
		t.Message, t.Hint = "something went wrong in this service", ""
	}
	modules := []history.Module{{Name: k6x.K6}}
	for _, chosen := range c.With {
		modules = append(modules, history.Module{Name: chosen.Name})
	}
	t.Extension = history.AtFault(modules, e)
	if e.Kind == k6x.Invalid { // as a name or a version is malformed
		for _, chosen := range c.With {
			if _, err := k6x.NewDependency(chosen.Name, chosen.Version); err != nil {
				t.Extension = chosen.Name
				break
			}
		}
	}
	if advice, ok := errors.AsType[*resolver.Advice](err); ok {
		for _, works := range advice.Lists {
			t.Instead = append(t.Instead, alternative(platform, works))
		}
	} else if e.Kind == k6x.NotFound && list != nil && s.builds(platform) { // the version, perhaps: others may do
		open := slices.Clone(list)
		for i := range open {
			if open[i].Name == cmp.Or(t.Extension, k6x.K6) && !open[i].Constraint.Any() {
				open[i].Constraint = k6x.Constraint{}
				if found, err := s.cfg.Resolver.Resolve(ctx, open); err == nil {
					t.Instead = append(t.Instead, alternative(platform, found.List()))
				}
			}
		}
	}
	return t
}

// alternative returns a list as another choice.
func alternative(platform k6x.Platform, list k6x.List) Alternative {
	c := Choice{Platform: platform.String()}
	for _, dep := range list {
		version := strings.TrimPrefix(dep.String(), dep.Name)
		version = strings.TrimPrefix(version, "@")
		if dep.Name == k6x.K6 {
			c.K6 = version
		} else {
			c.With = append(c.With, Chosen{Name: dep.Name, Version: version})
		}
	}
	return Alternative{List: list.String(), Query: c.encode()}
}

// help answers GET of /help.
func (s *Service) help(w *response, r *http.Request) error {
	w.outcome = "status"
	w.Header().Set("Cache-Control", "no-store")
	platform := k6x.Platform{OS: "linux", Arch: "amd64"}
	example := Choice{Platform: platform.String()}
	const known = "k6/x/redis" // so that a private registry is not told of
	if slices.ContainsFunc(s.cfg.Resolver.Offers(), func(o resolver.Offer) bool { return slices.Contains(o.Names, known) }) {
		example.With = []Chosen{{Name: known}}
	}
	if _, list, err := example.list(); err == nil {
		example.Asked = list.Path(platform)
		example.URL = s.absolute(r, example.Asked)
	}
	return s.show(w, r, "help", &Help{
		URL: s.absolute(r, ""), Example: example.Asked, Platforms: s.cfg.Version.Platforms, NeedsToken: s.cfg.Tokens != nil,
		Public: s.cfg.Tokens == nil || s.cfg.Builds.Public, Commands: s.commands(r, &example, platform), Version: s.cfg.Version,
	})
}
