package service

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/resolver"
)

const (
	anyMajor    = 0    // leaves the major version of k6 to the resolver
	keptRecords = 4096 // in memory, of paths that are bound
)

// resolved is a pinned list, its canonical path, and the recipe that it means here and now.
type resolved struct {
	list      k6x.List
	canonical string
	recipe    k6x.Recipe
	bound     bool     // the path is bound to the recipe
	warnings  []string // of the build that it is bound to
	asked     string   // the path of the list that was asked for
	took      time.Duration
}

// resolve turns a list into a recipe, with one major version of k6 or anyMajor. Bound is the key that the path of
// the list is bound to, "" if it is not: then it keeps the recipe of that, whatever the resolver and the toolchain of today would
// make of it.
func (s *Service) resolve(ctx context.Context, platform k6x.Platform, list k6x.List, major int, bound string) (_ resolved, err error) {
	began, asked := time.Now(), list.Path(platform)
	if bound != "" {
		record, err := s.recorded(ctx, bound)
		if !errors.Is(err, cache.ErrNotFound) {
			return resolved{list, asked, record.Recipe, true, record.Build.Warnings, asked, 0}, err
		}
	}
	ctx, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("k6x").Start(ctx, "resolve")
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, k6x.KindOf(err).String())
		}
		span.End()
	}()
	var resolution resolver.Resolution
	if major == anyMajor {
		resolution, err = s.cfg.Resolver.Resolve(ctx, list)
	} else {
		resolution, err = s.cfg.Resolver.ResolveMajor(ctx, list, major)
	}
	if err != nil {
		return resolved{}, err
	}
	recipe := k6x.NewRecipe(platform, resolution.Modules, resolution.Cgo, s.cfg.Settings)
	return resolved{recipe.List(), recipe.Path(), recipe, false, nil, asked, time.Since(began)}, nil
}

// resolveBound is resolve for requests that do not come back with the canonical path: what it is
// bound to counts.
func (s *Service) resolveBound(ctx context.Context, platform k6x.Platform, list k6x.List, major int) (resolved, error) {
	var bound, canonical string
	if list.Pinned() {
		var err error
		canonical = list.Path(platform)
		bound, err = s.cfg.Store.Lookup(ctx, canonical)
		if err != nil && !errors.Is(err, cache.ErrNotFound) {
			return resolved{}, err
		}
	}
	want, err := s.resolve(ctx, platform, list, major, bound)
	if err != nil || want.bound || want.canonical == canonical {
		return want, err
	}
	key, err := s.cfg.Store.Lookup(ctx, want.canonical)
	if err == nil {
		var record k6x.Artifact
		if record, err = s.recorded(ctx, key); err == nil {
			want.recipe, want.bound, want.warnings = record.Recipe, true, record.Build.Warnings
		}
	}
	if errors.Is(err, cache.ErrNotFound) {
		err = nil
	}
	return want, err
}

// recorded returns what a request needs of the record under key, or cache.ErrNotFound.
func (s *Service) recorded(ctx context.Context, key string) (k6x.Artifact, error) {
	if kept, ok := s.records.Get(key); ok { // neither changes
		return kept, nil
	}
	artifact, err := s.cfg.Store.Record(ctx, key)
	kept := k6x.Artifact{Recipe: artifact.Recipe, Build: k6x.Build{Warnings: artifact.Build.Warnings}}
	if err == nil {
		s.records.Add(key, kept)
	}
	return kept, err
}

// Build does for a list, with one major version of k6, what POST /build does, and opens the binary. The list that it returns is pinned.
func (s *Service) Build(ctx context.Context, platform k6x.Platform, list k6x.List, major int) (k6x.List, *cache.Entry, error) {
	if err := s.cfg.Resolver.Permit(list); err != nil {
		return nil, nil, err
	}
	want, err := s.resolveBound(ctx, platform, list, major)
	if err != nil {
		return nil, nil, err
	}
	entry, err := s.build(ctx, want, builder.Job{}, nil)
	return want.list, entry, err
}

// build makes sure that the binary is stored, binds its path and opens it. The job lacks the recipe only. Joined is called with the id of the build
// that the job joins, if that is known; it may be nil.
func (s *Service) build(ctx context.Context, want resolved, job builder.Job, joined func(id string)) (*cache.Entry, error) {
	// An artifact may be evicted between the end of its build and its being opened,
	// when the store is small and busy; then one more try is due.
	for attempt := 0; ; attempt++ {
		artifact, err := s.ensure(ctx, want, job, joined)
		if err != nil {
			return nil, err
		}
		entry, err := s.open(ctx, artifact.Recipe.Key())
		if errors.Is(err, cache.ErrEvicted) {
			if attempt > 0 {
				return nil, k6x.Errorf(k6x.NoSpace, "the store is too small to keep this binary until it is sent").WithCause(err)
			}
			continue
		}
		return entry, err
	}
}

// ensure makes sure that the binary is stored and binds its path. The job lacks the recipe only. It returns the record
// of what the path is bound to; with [builder.ErrDiffers] that is good too.
func (s *Service) ensure(ctx context.Context, want resolved, job builder.Job, joined func(id string)) (k6x.Artifact, error) {
	key := want.recipe.Key()
	job.Recipe, job.Request, job.Resolved = want.recipe, want.asked, want.took
	artifact, err := s.join(ctx, job, joined)
	differs := errors.Is(err, builder.ErrDiffers)
	if err != nil && !differs {
		return k6x.Artifact{}, s.logged(key, err)
	}
	bound, bindErr := s.cfg.Store.Bind(ctx, want.canonical, key)
	if bindErr != nil {
		return k6x.Artifact{}, bindErr
	}
	if bound == key {
		return artifact, err
	}
	return s.cfg.Store.Record(ctx, bound)
}

// join has a job built.
func (s *Service) join(ctx context.Context, job builder.Job, joined func(id string)) (k6x.Artifact, error) {
	request := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, request)
	job.Trace = request["traceparent"]
	b, ok := s.cfg.Builder.(joiner)
	if !ok || joined == nil {
		return s.cfg.Builder.Build(ctx, job)
	}
	id, wait, err := b.Join(ctx, job)
	if err != nil {
		return k6x.Artifact{}, err
	}
	joined(id)
	return wait(ctx)
}
