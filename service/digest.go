package service

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-chi/chi/v5"

	"k6x"
	"k6x/cache"
)

const keptDigests = 4096 // in memory, of binaries that were sent

// byDigest answers GET and HEAD of /cas/{digest} with the binary that has it, by the rules for its path: the read side of Bazel's HTTP cache. A digest
// is known of what was sent, and of what the history has.
func (s *Service) byDigest(w *response, r *http.Request) error {
	digest := chi.URLParam(r, "digest")
	missing := k6x.Errorf(k6x.NotFound, "there is no binary with the digest %s", k6x.Clip(digest)).
		WithHint("One that was built long ago is found once it was asked for by its path.")
	return s.inRounds(w, r, "/cas/"+digest, func(ctx context.Context) error {
		key, err := s.keyOf(ctx, digest)
		if err != nil {
			return absent(err, missing)
		}
		artifact, err := s.cfg.Store.Record(ctx, key)
		switch {
		case err != nil:
			return absent(err, missing)
		case artifact.Digest != digest: // it was forgotten, and built anew
			return missing
		case !s.builds(artifact.Recipe.Platform):
			return k6x.UnknownPlatform(artifact.Recipe.Platform.String(), s.cfg.Platforms...)
		}
		if err := s.cfg.Resolver.Permit(artifact.Recipe.List()); err != nil {
			return err
		}
		plain := r.Clone(r.Context())
		plain.Header.Del("Accept-Encoding") // another form has another digest
		return absent(s.sendStored(ctx, w, plain, key), missing)
	})
}

// knows reports whether a binary of that digest is known.
func (s *Service) knows(digest string) bool {
	return s.digests.Contains(digest) || s.cfg.Builds.History.PathOf(digest) != ""
}

// keyOf returns the key of the binary that has or had a digest; cache.ErrNotFound if that is not known.
func (s *Service) keyOf(ctx context.Context, digest string) (string, error) {
	if key, known := s.digests.Get(digest); known {
		return key, nil
	}
	path := s.cfg.Builds.History.PathOf(digest)
	if path == "" {
		return "", cache.ErrNotFound
	}
	return s.cfg.Store.Lookup(ctx, path)
}

// absent returns missing for an error of a store that does not have something, else err.
func absent(err, missing error) error {
	if errors.Is(err, cache.ErrNotFound) || errors.Is(err, cache.ErrEvicted) {
		return missing
	}
	return err
}
