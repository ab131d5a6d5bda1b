package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/resolver"
)

// Wish is a list for a platform that is built before anybody asks for it.
type Wish struct {
	Platform k6x.Platform
	List     k6x.List
}

// ParsePreload reads LIST:GOOS/GOARCH,LIST:GOOS/GOARCH… The last list may go without
// a platform, which then is host.
func ParsePreload(s string, host k6x.Platform) ([]Wish, error) {
	var wishes []Wish
	var items []string
	add := func(platform k6x.Platform) error {
		list, err := k6x.ParseList(strings.Join(items, ","))
		items = nil
		wishes = append(wishes, Wish{platform, list})
		return err
	}
	for item := range strings.SplitSeq(s, ",") {
		before, after, found := cutLast(item, ":")
		platform, err := k6x.ParsePlatform(after)
		if !found || err != nil {
			items = append(items, item)
			continue
		}
		items = append(items, before)
		if err := add(platform); err != nil {
			return nil, err
		}
	}
	if len(items) > 0 {
		if err := add(host); err != nil {
			return nil, err
		}
	}
	return wishes, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// How long preload waits before it tries again what failed as something that we depend on is
// down. It doubles from the first to the last.
const (
	preloadPause    = 30 * time.Second
	maxPreloadPause = 8 * time.Minute
)

// Preload builds and pins each wish, one after another and in the [builder.Background],
// until all is done or ctx ends. What is stored is not built again. What fails for good is logged and
// passed over; what may work later is tried again, after the others.
func (s *Service) Preload(ctx context.Context, wishes []Wish) {
	if len(wishes) == 0 {
		return
	}
	done, failed := 0, 0
	s.cfg.Metrics.preload(len(wishes), done, failed)
	for wait := preloadPause; ; wait = min(2*wait, maxPreloadPause) {
		var again []Wish
		for i, wish := range wishes {
			path := wish.List.Path(wish.Platform)
			err := s.preload(ctx, wish)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				done++
				s.cfg.Logger.Info("preloaded", "path", path)
			case s.transient(k6x.KindOf(err)):
				again = append(again, wish)
				s.cfg.Logger.Warn("preload is tried again", "path", path, "error", err)
			default:
				failed++
				s.cfg.Logger.Error("preload failed", "path", path, "error", err)
			}
			s.cfg.Metrics.preload(len(wishes)-i-1+len(again), done, failed)
		}
		if wishes = again; len(wishes) == 0 || !pause(ctx, wait) {
			return
		}
	}
}

func (s *Service) preload(ctx context.Context, wish Wish) error {
	if !s.builds(wish.Platform) {
		return k6x.UnknownPlatform(wish.Platform.String(), s.cfg.Platforms...)
	}
	if err := s.cfg.Resolver.Permit(wish.List); err != nil {
		return err
	}
	want, err := s.meaning(ctx, wish.Platform, wish.List, anyMajor)
	if err != nil {
		return err
	}
	var entry *cache.Entry
	if want.bound {
		entry, err = s.cfg.Store.Open(ctx, want.recipe.Key())
	}
	if err != nil || !want.bound {
		if entry, err = s.build(ctx, want, builder.Job{Client: "preload", Priority: builder.Background}); err != nil {
			return err
		}
	}
	defer entry.Close()
	if s.cfg.Pin != nil {
		s.cfg.Pin(entry.Key)
	}
	return nil
}

// transient reports whether a failure of this kind may be gone the next time.
func (s *Service) transient(kind k6x.Kind) bool {
	if kind == k6x.NotFound { // perhaps a registry that cannot be read has it
		return slices.ContainsFunc(s.cfg.Resolver.Sources(), func(r resolver.SourceStatus) bool { return r.Stale })
	}
	return kind == k6x.Unavailable || kind == k6x.Busy || kind == k6x.Quota || kind == k6x.Timeout || kind == k6x.NoSpace
}

// pause waits, and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
