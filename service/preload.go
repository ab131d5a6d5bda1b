package service

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/resolver"
)

// Target is a list for a platform that is built before a client asks for it.
type Target struct {
	Platform k6x.Platform
	List     k6x.List
}

// ParsePreload reads LIST:GOOS/GOARCH,LIST:GOOS/GOARCH… The last list may go without
// a platform, which then is host.
func ParsePreload(s string, host k6x.Platform) ([]Target, error) {
	var targets []Target
	var items []string
	add := func(platform k6x.Platform) error {
		list, err := k6x.ParseList(strings.Join(items, ","))
		items = nil
		targets = append(targets, Target{platform, list})
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
	return targets, nil
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

// Preload builds and pins each target, one after another and in the [builder.Background],
// until all is done or ctx ends. What is stored is not built again. What fails for good is logged and
// passed over; what may work later is tried again, after the others.
func (s *Service) Preload(ctx context.Context, targets []Target) {
	if len(targets) == 0 {
		return
	}
	done, failed := 0, 0
	s.cfg.Metrics.preload(len(targets), done, failed)
	for wait := preloadPause; ; wait = min(2*wait, maxPreloadPause) {
		var again []Target
		for i, target := range targets {
			path := target.List.Path(target.Platform)
			err := s.preload(ctx, target)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				done++
				s.cfg.Logger.Info("preloaded", "path", path)
			case s.transient(k6x.KindOf(err)):
				again = append(again, target)
				s.cfg.Logger.Warn("preload is tried again", "path", path, "error", err)
			default:
				failed++
				s.cfg.Logger.Error("preload failed", "path", path, "error", err)
			}
			s.cfg.Metrics.preload(len(targets)-i-1+len(again), done, failed)
		}
		if targets = again; len(targets) == 0 || !pause(ctx, wait) {
			return
		}
	}
}

// Wish builds a target that is not stored, in the [builder.Background], and does not pin it. It returns whether the target could be resolved, so
// that an error is that of a build.
func (s *Service) Wish(ctx context.Context, target Target) (resolved bool, err error) {
	want, err := s.permitted(ctx, target.Platform, target.List)
	if err != nil {
		if s.transient(k6x.KindOf(err)) {
			err = k6x.Errorf(k6x.Unavailable, "%w", err)
		}
		return false, err
	}
	if want.bound {
		if _, err := s.cfg.Store.Record(ctx, want.recipe.Key()); err == nil {
			return true, nil
		}
	}
	_, err = s.ensure(ctx, want, builder.Job{Client: "watch", Priority: builder.Background}, nil)
	return true, err
}

// permitted resolves a list that the service's rules let pass.
func (s *Service) permitted(ctx context.Context, platform k6x.Platform, list k6x.List) (resolved, error) {
	if !s.builds(platform) {
		return resolved{}, k6x.UnknownPlatform(platform.String(), s.cfg.Platforms...)
	}
	if err := s.cfg.Resolver.Permit(list); err != nil {
		return resolved{}, err
	}
	return s.resolveBound(ctx, platform, list, anyMajor)
}

func (s *Service) preload(ctx context.Context, target Target) error {
	want, err := s.permitted(ctx, target.Platform, target.List)
	if err != nil {
		return err
	}
	var entry *cache.Entry
	if want.bound {
		entry, err = s.cfg.Store.Open(ctx, want.recipe.Key())
	}
	if err != nil || !want.bound {
		if entry, err = s.build(ctx, want, builder.Job{Client: "preload", Priority: builder.Background}, nil); err != nil {
			return err
		}
	}
	defer entry.Close()
	if s.cfg.Pin != nil {
		s.cfg.Pin(entry.Key)
	}
	if entry.Await != nil { // it is in the bucket only: reading it brings it here
		for err == nil && ctx.Err() == nil {
			_, err = io.CopyN(io.Discard, entry.Body, 1<<20)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return err
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
