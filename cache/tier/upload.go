package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"k6x"
	"k6x/cache"
)

// pending is a binary that was built here and could not be uploaded yet. It is kept, so that the build is not lost, and answered, but not as
// what the path means for ever: another service may build it meanwhile, and then that one counts.
type pending struct {
	path  string // to be bound; "" if it is not
	size  int64
	unpin func()
}

// recall finds what an earlier process could not upload.
func (s *Store) recall(ctx context.Context) {
	keys, err := s.local.Pending(ctx)
	for key, bind := range keys {
		if artifact, recordErr := s.local.Record(ctx, key); recordErr == nil {
			s.pend(artifact, bind)
		} else if errors.Is(recordErr, cache.ErrNotFound) {
			err = errors.Join(err, s.local.Uploaded(ctx, key))
		}
	}
	if err != nil {
		s.logger.Error("what is still to be uploaded cannot be read", "error", err)
	}
}

func (s *Store) pend(artifact k6x.Artifact, bind bool) {
	key := artifact.Recipe.Key()
	p := &pending{size: artifact.Size, unpin: s.local.Pin(key)}
	if bind {
		p.path = artifact.Path
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[key] = p
}

// later reports whether a binary that could not be uploaded is kept here until it can: if the bucket may take it another time, and what
// waits for that takes no more than half of the local store.
func (s *Store) later(ctx context.Context, artifact k6x.Artifact, bind bool, failed error) bool {
	kind := k6x.KindOf(failed)
	if ctx.Err() != nil || kind != k6x.Unavailable && kind != k6x.NoSpace {
		return false
	}
	s.mu.Lock()
	size := artifact.Size
	for _, p := range s.uploads {
		size += p.size
	}
	s.mu.Unlock()
	if limit := s.local.Stats().Limit; limit > 0 && size > limit/2 {
		return false
	}
	if err := s.local.Pend(ctx, artifact.Recipe.Key(), bind); err != nil {
		s.logger.Warn("a binary that could not be uploaded cannot be kept", "path", artifact.Path, "error", err)
		return false
	}
	s.logger.Error("binary could not be uploaded; it is kept here, and tried again", "path", artifact.Path, "error", failed, "cause", errors.Unwrap(failed))
	s.pend(artifact, bind)
	return true
}

// waits returns what is to be uploaded under key; nil if there is none.
func (s *Store) waits(key string) *pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.uploads[key]
}

// Upload tries again to upload what could not be uploaded when it was built. It returns the errors.
func (s *Store) Upload(ctx context.Context) error {
	s.mu.Lock()
	uploads := maps.Clone(s.uploads)
	s.mu.Unlock()
	var failed []error
	for key, p := range uploads {
		failed = append(failed, s.upload(ctx, key, p))
	}
	return errors.Join(failed...)
}

// upload uploads one binary, and forgets it here if another service was first with other bytes, or if it is gone.
func (s *Store) upload(ctx context.Context, key string, p *pending) error {
	artifact, err := s.local.Record(ctx, key)
	if err == nil {
		err = s.local.Verify(ctx, key)
	}
	var entry *cache.Entry
	if err == nil {
		entry, err = s.local.Open(ctx, key)
	}
	var first k6x.Artifact
	var bound string
	if err == nil {
		first, bound, err = s.remote.Import(ctx, artifact, p.path != "", entry.Body.(io.ReaderAt))
		entry.Close()
	}
	if err != nil && !missing(err) {
		return fmt.Errorf("upload %s: %w", artifact.Path, err)
	}
	p.unpin()
	if err != nil || first.Digest != artifact.Digest {
		s.logger.Error("binary that waited for its upload is forgotten", "path", artifact.Path, "digest", artifact.Digest, "first", first.Digest, "error", err)
		if err := s.local.Forget(ctx, key); err != nil {
			return err
		}
	}
	s.mu.Lock()
	delete(s.uploads, key)
	s.mu.Unlock()
	if bound != "" {
		s.bound(ctx, artifact.Path, bound)
	}
	return s.local.Uploaded(ctx, key)
}
