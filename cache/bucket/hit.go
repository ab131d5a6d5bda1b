package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
)

// errWrongSize: the binary was found damaged and removed just now.
var errWrongSize = fmt.Errorf("damaged binary: %w", cache.ErrEvicted)

const notOpened = "the binary could not be opened"

// open is Open in a place. The body is what the place gives: in a directory an *os.File.
func (s *Store) open(ctx context.Context, key string) (*cache.Entry, error) {
	release := s.hold(key)
	in, body, err := s.openBinary(ctx, key)
	if err != nil {
		release()
		return nil, s.mend(ctx, key, err)
	}
	s.use(ctx, key, in)
	return &cache.Entry{
		Key: key, Digest: in.digest, Size: in.size, Stored: in.stored, Platform: in.platform, Body: body,
		Release: func() {
			body.Close()
			release()
		},
	}, nil
}

// openBinary opens the binary of key, which is held, and compares its size with the record. If it cannot be the
// one of the record, it is removed, and the error is errWrongSize, which is an ErrEvicted.
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
	if in, ok := s.own.hot.Get(key); ok && in.size == now.Size && same(in.binary, now) {
		return in, nil
	}
	artifact, err := s.readRecord(ctx, key)
	if err != nil {
		return nil, err
	}
	if artifact.Size != now.Size {
		s.logger.Error("binary does not have the size of its record; it has to be built again",
			"key", key, "size", now.Size, "want", artifact.Size)
		if err := s.setAside(ctx, key, now); err != nil {
			return nil, err
		}
		return nil, errWrongSize
	}
	in := newInfo(artifact, now)
	s.own.hot.Add(key, in)
	if _, err := s.look(ctx, key); err != nil { // it may be back after another process evicted it
		return nil, err
	}
	return in, nil
}

func newInfo(artifact k6x.Artifact, binary blob.Info) *info {
	in := &info{digest: artifact.Digest, size: artifact.Size, stored: artifact.Stored, platform: artifact.Recipe.Platform, binary: binary}
	in.touched.Store(binary.ModTime.Unix())
	return in
}

// same reports whether two looks at one name saw one blob, whenever it was used in between.
func same(a, b blob.Info) bool {
	if a.File != nil && b.File != nil {
		return os.SameFile(a.File, b.File)
	}
	return a.ETag == b.ETag
}

// setAside removes a damaged binary, unless it was replaced meanwhile.
func (s *Store) setAside(ctx context.Context, key string, damaged blob.Info) error {
	return s.exclusive(func() error {
		now, err := s.bucket.Stat(ctx, s.binary(key, ""))
		if isAbsent(err) || err == nil && !same(now, damaged) {
			return nil
		}
		if err == nil {
			err = s.discard(ctx, s.binary(key, ""))
		}
		if err != nil {
			return err
		}
		s.own.hot.Remove(key)
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
		if err := s.discard(ctx, home(key)); err != nil {
			return err
		}
		if _, err := s.look(ctx, key); err != nil {
			return err
		}
		return cache.ErrNotFound
	})
}
