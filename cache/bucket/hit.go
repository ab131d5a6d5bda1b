package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"

	"k6x/cache"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

// errRemoved: the binary was found damaged and removed just now.
var errRemoved = fmt.Errorf("damaged binary: %w", cache.ErrEvicted)

const (
	notOpened   = "the binary could not be opened"
	notVerified = "the binary could not be checked"
)

// open is Open in a place. The body is what the place gives: in a directory an *os.File.
func (s *Store) open(ctx context.Context, key string) (*cache.Entry, error) {
	closed := s.opening(key)
	in, body, err := s.openBinary(ctx, key)
	if err != nil {
		closed()
		return nil, s.mend(ctx, key, err)
	}
	entry := in.entry
	entry.Body, entry.Release = body, func() {
		body.Close()
		closed()
	}
	if !s.use(ctx, key, in) {
		entry.Verify = func(ctx context.Context) error { return s.verifyOnce(ctx, key, in.version) }
	}
	return &entry, nil
}

// Describe implements [cache.Limited].
func (s *Store) Describe(ctx context.Context, key string) *cache.Entry {
	if s.own == nil {
		return nil
	}
	in, hot := s.own.hot.Get(key)
	if !hot {
		return nil
	}
	s.own.mu.Lock()
	item, _ := s.own.ledger.Get(key)
	s.own.mu.Unlock()
	if item.Binary == 0 {
		return nil
	}
	s.use(ctx, key, in)
	entry := in.entry
	return &entry
}

// verifyOnce returns nil once the binary with that version was read and has the digest of its record.
func (s *Store) verifyOnce(ctx context.Context, key string, opened blob.Version) error {
	err := s.own.readings.Do(ctx, key, func() error {
		_, err := s.verify(context.Background(), key)
		return err
	})
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if err == nil && s.own.verified[key] != opened {
		err = fmt.Errorf("replaced meanwhile: %w", cache.ErrEvicted)
	}
	return fault(notVerified, err)
}

// Verify implements [cache.Store].
func (s *Store) Verify(ctx context.Context, key string) error {
	if s.own != nil {
		if err := check(ctx, key); err != nil {
			return err
		}
		_, err := s.verify(ctx, key)
		return fault(notVerified, err)
	}
	artifact, err := s.Whole(ctx, key)
	if err != nil {
		return err
	}
	return explain(ctx, s.readBack(ctx, s.binary(key, artifact.Digest), artifact))
}

// verify reads the binary of key in a place and returns how many bytes it has. One that does not have the digest of its record
// is removed, and the error is errRemoved.
func (s *Store) verify(ctx context.Context, key string) (size int64, err error) {
	defer s.hold(key)()
	in, body, err := s.openBinary(ctx, key)
	if err != nil {
		return 0, s.mend(ctx, key, err)
	}
	digest, size, err := disk.Digest(disk.Until(ctx, body))
	body.Close() // now, where open files cannot be moved
	switch {
	case err != nil: // of the disk, which may be there again soon
		return size, err
	case digest == in.entry.Digest:
		s.own.mu.Lock()
		defer s.own.mu.Unlock()
		s.own.verified[key] = in.version
		return size, nil
	}
	s.logger.Error("binary does not have the digest of its record; it has to be built again", "key", key, "digest", digest, "want", in.entry.Digest)
	if err := s.setAside(ctx, key, in.version); err != nil {
		return size, err
	}
	return size, errRemoved
}

// openBinary opens the binary of key, and compares its size with the record. If it cannot be the
// one of the record, it is removed, and the error is errRemoved, which is an ErrEvicted.
func (s *Store) openBinary(ctx context.Context, key string) (*info, io.ReadSeekCloser, error) {
	opened, now, err := s.bucket.Open(ctx, s.binary(key, ""), 0)
	if isAbsent(err) {
		known, err := s.look(ctx, key)
		switch {
		case err != nil:
			return nil, nil, err
		case !known:
			return nil, nil, cache.ErrNotFound
		}
		return nil, nil, cache.ErrEvicted
	}
	if err != nil {
		return nil, nil, err
	}
	body := opened.(io.ReadSeekCloser)
	in, err := s.describe(ctx, key, now)
	if err != nil {
		body.Close()
		return nil, nil, err
	}
	return in, body, nil
}

// describe returns what the record says of the binary that was opened.
func (s *Store) describe(ctx context.Context, key string, now blob.Info) (*info, error) {
	// Another process may have replaced the artifact since: then the binary is another one.
	if in, ok := s.own.hot.Get(key); ok && in.version == now.Version() {
		return in, nil
	}
	artifact, err := s.readRecord(ctx, key)
	if err != nil {
		return nil, err
	}
	if artifact.Size != now.Size {
		s.logger.Error("binary does not have the size of its record; it has to be built again",
			"key", key, "size", now.Size, "want", artifact.Size)
		if err := s.setAside(ctx, key, now.Version()); err != nil {
			return nil, err
		}
		return nil, errRemoved
	}
	if _, err := s.look(ctx, key); err != nil { // it may be back after another process evicted it
		return nil, err
	}
	in := &info{entry: entryOf(key, artifact), version: now.Version()}
	s.own.mu.Lock()
	item, _ := s.own.ledger.Get(key)
	s.own.mu.Unlock()
	in.touched.Store(item.Used.Unix())
	s.own.hot.Add(key, in)
	return in, nil
}

// setAside removes a damaged binary, unless it was replaced meanwhile.
func (s *Store) setAside(ctx context.Context, key string, damaged blob.Version) error {
	return s.exclusive(func() error {
		now, err := s.bucket.Stat(ctx, s.binary(key, ""))
		if isAbsent(err) || err == nil && now.Version() != damaged {
			return nil
		}
		if err == nil {
			err = s.discard(ctx, s.binary(key, ""))
		}
		if err != nil {
			return err
		}
		s.own.hot.Remove(key)
		s.own.mu.Lock()
		s.own.unlink(key)
		s.own.mu.Unlock()
		_, err = s.look(ctx, key)
		return err
	})
}

// mend removes the artifact whose record could not be read from a place, if that is what err says, so
// that it can be built again: then it returns ErrNotFound, else err.
func (s *Store) mend(ctx context.Context, key string, err error) error {
	if s.own == nil || !errors.Is(err, errDamaged) {
		return err
	}
	return s.exclusive(func() error {
		if _, err := s.readRecord(ctx, key); !errors.Is(err, errDamaged) {
			return err
		}
		s.logger.Error("artifact with a damaged record removed", "key", key, "error", err)
		if err := s.discard(ctx, s.home(key)); err != nil {
			return err
		}
		if _, err := s.look(ctx, key); err != nil {
			return err
		}
		return cache.ErrNotFound
	})
}
