package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k6x"
	"k6x/cache"
)

// Record implements [cache.Store].
func (s *Store) Record(ctx context.Context, key string) (k6x.Artifact, error) {
	if err := check(ctx, key); err != nil {
		return k6x.Artifact{}, err
	}
	artifact, err := s.readRecord(ctx, key)
	return artifact, fault("the record of the binary could not be read", s.mend(ctx, key, err))
}

// readRecord reads the record of key. It returns ErrNotFound or errDamaged.
func (s *Store) readRecord(ctx context.Context, key string) (k6x.Artifact, error) {
	name := s.record(key)
	data, err := s.get(ctx, name, maxRecord)
	if isAbsent(err) {
		if s.own != nil {
			if _, err := s.look(ctx, key); err != nil {
				return k6x.Artifact{}, err
			}
		}
		return k6x.Artifact{}, cache.ErrNotFound
	}
	if err != nil {
		return k6x.Artifact{}, err
	}
	artifact, err := decodeRecord(data)
	if err == nil && artifact.Recipe.Key() != key {
		err = errors.New("the record is that of another key")
	}
	if err != nil {
		s.logger.Error("damaged record", "name", name, "error", err)
		return k6x.Artifact{}, s.explain(ctx, fmt.Errorf("%w: %w", errDamaged, err))
	}
	return artifact, nil
}

// Whole implements [cache.Store].
func (s *Store) Whole(ctx context.Context, key string) (k6x.Artifact, error) {
	artifact, err := s.Record(ctx, key)
	if err != nil {
		return k6x.Artifact{}, err
	}
	whole, err := s.hasBinary(ctx, key, artifact)
	if err == nil && !whole {
		err = cache.ErrEvicted
	}
	return artifact, err
}

// hasBinary reports whether there are bytes for a record. Those of another size are damaged:
// they do not count, and the next upload replaces them.
func (s *Store) hasBinary(ctx context.Context, key string, artifact k6x.Artifact) (bool, error) {
	name := s.binary(key, artifact.Digest)
	info, err := s.stat(ctx, name)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Size != artifact.Size {
		s.logger.Error("binary does not have the size of its record; it has to be built again",
			"name", name, "size", info.Size, "want", artifact.Size)
		return false, nil
	}
	return true, nil
}

// Open implements [cache.Store]. In a directory the body of the entry is an *os.File. Else nothing is read before the body is. The body goes on where it was
// when a connection breaks, some times; that its bytes have the digest is for the reader to
// check, as they are not all here at once. Reading fails if they are evicted meanwhile.
func (s *Store) Open(ctx context.Context, key string) (*cache.Entry, error) {
	if s.own != nil {
		if err := check(ctx, key); err != nil {
			return nil, err
		}
		entry, err := s.open(ctx, key)
		return entry, fault(notOpened, err)
	}
	artifact, err := s.Whole(ctx, key)
	if err != nil {
		return nil, err
	}
	// The entry is good until it is closed, whatever ctx was for.
	body := s.newBody(context.WithoutCancel(ctx), s.binary(key, artifact.Digest), artifact.Size)
	entry := entryOf(key, artifact)
	entry.Body, entry.Release = body, body.close
	return &entry, nil
}

// entryOf returns an entry without a body.
func entryOf(key string, artifact k6x.Artifact) cache.Entry {
	return cache.Entry{
		Key: key, Digest: artifact.Digest, Size: artifact.Size, Stored: artifact.Stored, Platform: artifact.Recipe.Platform, Warnings: artifact.Build.Warnings,
	}
}

// signedLife is how long the URL of [Store.SignedURL] works.
const signedLife = 15 * time.Minute

// SignedURL returns a URL that gives the bytes under key to anyone, for a quarter of an
// hour, or ErrNotFound or ErrEvicted. If this kind of bucket has no such URLs the
// error is an errors.ErrUnsupported.
func (s *Store) SignedURL(ctx context.Context, key string) (string, error) {
	if s.own != nil {
		return "", errors.ErrUnsupported
	}
	artifact, err := s.Whole(ctx, key)
	if err != nil {
		return "", err
	}
	signed, err := s.bucket.SignedURL(ctx, s.binary(key, artifact.Digest), signedLife)
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return signed, err
	}
	return "", explain(ctx, err)
}
