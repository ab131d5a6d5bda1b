package service

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
)

const yearLong = "public, max-age=31536000, immutable"

// binary answers GET and HEAD of /{goos}/{goarch}/{list} (contract section 1).
func (s *Service) binary(w *response, r *http.Request) error {
	if strings.Count(strings.TrimLeft(r.URL.Path, "/"), "/") < 2 {
		return notFound(w, r)
	}
	platform, list, err := k6x.ParsePath(r.URL.Path)
	if err != nil {
		return err
	}
	if !s.builds(platform) {
		return k6x.UnknownPlatform(platform.String(), s.cfg.Platforms...)
	}
	canonical := list.Path(platform)
	if list.Pinned() && r.URL.EscapedPath() != canonical {
		w.outcome = "moved"
		w.Header().Set("Cache-Control", yearLong)
		return s.redirect(w, http.StatusMovedPermanently, canonical)
	}
	if err := s.cfg.Resolver.Permit(list); err != nil {
		return err
	}
	if list.Pinned() {
		entry, err := s.lookup(r.Context(), canonical)
		if err == nil {
			w.outcome = "hit"
			s.cfg.Metrics.hits.Inc()
			return s.send(w, r, entry)
		}
		if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return err
		}
		if errors.Is(err, cache.ErrEvicted) && s.unchanged(r, canonical) {
			w.Header().Set("Cache-Control", yearLong)
			w.Header().Set("Etag", r.Header.Get("If-None-Match"))
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	return s.waiting(w, r, canonical, func(ctx context.Context) error {
		ctx = builder.WithClient(ctx, w.client)
		path, err := s.resolve(ctx, platform, list)
		if err != nil {
			return err
		}
		if path.canonical != canonical {
			w.outcome = "resolved"
			w.Header().Set("Cache-Control", s.latestCacheControl())
			target := path.canonical
			if round := rounds(r); round > 0 { // they count until the client has its binary
				w.Header().Set("Cache-Control", "no-cache, no-store")
				target = withRound(target, round)
			}
			return s.redirect(w, http.StatusTemporaryRedirect, target)
		}
		entry, err := s.build(ctx, path)
		if err != nil {
			return err
		}
		w.outcome = "built"
		return s.send(w, r, entry)
	})
}

func notFound(_ *response, r *http.Request) error {
	return k6x.Errorf(k6x.NotFound, "there is nothing at %s", clip(r.URL.EscapedPath())).
		WithHint("A binary is at /goos/goarch/list, for example /linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6.")
}

// resolved is a canonical path and the recipe that it means here and now.
type resolved struct {
	canonical string
	recipe    k6x.Recipe
}

// lookup opens what a canonical path is bound to; cache.ErrNotFound or
// cache.ErrEvicted if there is nothing to send.
func (s *Service) lookup(ctx context.Context, canonical string) (*cache.Entry, error) {
	key, err := s.cfg.Store.Lookup(ctx, canonical)
	if err != nil {
		return nil, err
	}
	return s.cfg.Store.Open(ctx, key)
}

// resolve turns a list into a recipe. A path that was bound once keeps its recipe,
// whatever the resolver and the toolchain of today would make of it.
func (s *Service) resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (resolved, error) {
	if list.Pinned() {
		canonical := list.Path(platform)
		recipe, err := s.recorded(ctx, canonical)
		if !errors.Is(err, cache.ErrNotFound) {
			return resolved{canonical, recipe}, err
		}
	}
	resolution, err := s.cfg.Resolver.Resolve(ctx, list)
	if err != nil {
		return resolved{}, err
	}
	recipe := k6x.NewRecipe(platform, resolution.Modules, resolution.Cgo, s.cfg.Settings)
	return resolved{recipe.Path(), recipe}, nil
}

func (s *Service) recorded(ctx context.Context, canonical string) (k6x.Recipe, error) {
	key, err := s.cfg.Store.Lookup(ctx, canonical)
	if err != nil {
		return k6x.Recipe{}, err
	}
	artifact, err := s.cfg.Store.Record(ctx, key)
	return artifact.Recipe, err
}

// unchanged reports whether the client has the bytes of a canonical path, which were
// evicted here: then there is no need to build them again.
func (s *Service) unchanged(r *http.Request, canonical string) bool {
	tag := r.Header.Get("If-None-Match")
	if tag == "" {
		return false
	}
	key, err := s.cfg.Store.Lookup(r.Context(), canonical)
	if err != nil {
		return false
	}
	artifact, err := s.cfg.Store.Record(r.Context(), key)
	return err == nil && tag == `"`+artifact.Digest+`"`
}

// build makes sure that the binary is stored, binds its path and opens it.
func (s *Service) build(ctx context.Context, want resolved) (*cache.Entry, error) {
	key := want.recipe.Key()
	// An artifact may be evicted between the end of its build and its being opened,
	// when the store is small and busy; then one more try is due.
	for attempt := 0; ; attempt++ {
		if _, err := s.cfg.Builder.Build(ctx, want.recipe); err != nil {
			return nil, s.logged(key, err)
		}
		bound, err := s.cfg.Store.Bind(ctx, want.canonical, key)
		if err != nil {
			return nil, err
		}
		entry, err := s.cfg.Store.Open(ctx, bound)
		if errors.Is(err, cache.ErrEvicted) {
			if attempt > 0 {
				return nil, k6x.Errorf(k6x.NoSpace, "the store is too small to keep this binary until it is sent").WithCause(err)
			}
			continue
		}
		return entry, err
	}
}

// send sends an entry and closes it. Headers that make an answer cacheable are set
// here only, where the bytes are at hand.
func (s *Service) send(w *response, r *http.Request, entry *cache.Entry) error {
	defer entry.Close()
	digest, err := hex.DecodeString(entry.Digest)
	if err != nil {
		return fmt.Errorf("digest of %s: %w", entry.Key, err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+entry.Platform.Executable()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", yearLong)
	h.Set("Etag", `"`+entry.Digest+`"`)
	h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest)+":")
	http.ServeContent(w, r, "", entry.Stored, entry.Body)
	return nil
}

func (s *Service) redirect(w *response, status int, path string) error {
	w.Header().Set("Location", s.location(path))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "The binary is at %s\n", s.location(path))
	return nil
}

func (s *Service) latestCacheControl() string {
	if age := s.cfg.LatestMaxAge; age >= time.Second {
		return fmt.Sprintf("public, max-age=%d", int(age.Seconds()))
	}
	return "no-cache, no-store"
}
