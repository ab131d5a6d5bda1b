package service

import (
	"context"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
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

// preloadPause is the time between two tries when something that we depend on is down.
const preloadPause = 30 * time.Second

// Preload builds and pins each wish, one after another, until ctx ends. What fails for good
// is logged and passed over.
func (s *Service) Preload(ctx context.Context, wishes []Wish) {
	ctx = builder.WithClient(ctx, "preload")
	for _, wish := range wishes {
		path := wish.List.Path(wish.Platform)
		err := s.preload(ctx, wish)
		for transient(k6x.KindOf(err)) && pause(ctx, preloadPause) {
			s.cfg.Logger.Warn("preload is tried again", "path", path, "error", err)
			err = s.preload(ctx, wish)
		}
		if err != nil {
			s.cfg.Logger.Error("preload failed", "path", path, "error", err)
			continue
		}
		s.cfg.Logger.Info("preloaded", "path", path)
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
		if entry, err = s.build(ctx, want); err != nil {
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
func transient(kind k6x.Kind) bool {
	return kind == k6x.Unavailable || kind == k6x.Busy || kind == k6x.Quota || kind == k6x.NoSpace
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
