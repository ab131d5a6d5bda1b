package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/internal/record"
	"k6x/internal/disk"
)

// info is what a hit needs of a record.
type info struct {
	digest   string
	size     int64
	stored   time.Time
	platform k6x.Platform
	file     os.FileInfo  // of the binary that the record was read for
	touched  atomic.Int64 // Unix time of the last Touch
}

var (
	// errDamaged: there is a record, but it says nothing.
	errDamaged = errors.New("damaged record")
	// errWrongSize: the binary was found damaged and removed just now.
	errWrongSize = fmt.Errorf("damaged binary: %w", cache.ErrEvicted)
)

const notOpened = "the binary could not be opened"

// Open implements [cache.Store]. The body of the entry is an *os.File.
func (s *Store) Open(ctx context.Context, key string) (*cache.Entry, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	known, err := s.find(key)
	if err != nil {
		return nil, fault(notOpened, err)
	}
	if !known {
		return nil, cache.ErrNotFound
	}
	release := s.hold(key)
	in, file, err := s.open(key)
	if err != nil {
		release()
		return nil, fault(notOpened, s.mend(key, err))
	}
	s.use(key, in)
	return &cache.Entry{
		Key: key, Digest: in.digest, Size: in.size, Stored: in.stored, Platform: in.platform, Body: file,
		Release: func() {
			file.Close()
			release()
		},
	}, nil
}

// open opens the binary of key, which is held, and compares its size with the record.
func (s *Store) open(key string) (*info, *os.File, error) {
	file, err := os.Open(s.binary(key))
	if errors.Is(err, fs.ErrNotExist) {
		known, err := s.look(key)
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
	in, err := s.describe(key, file)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return in, file, nil
}

// describe returns what the record says of an open binary. If the binary cannot be the
// one of the record, it is removed, and the error is errWrongSize, which is an ErrEvicted.
func (s *Store) describe(key string, file *os.File) (*info, error) {
	now, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// Another process may have replaced the artifact since: then the file is another one.
	if in, ok := s.hot.Get(key); ok && in.size == now.Size() && os.SameFile(in.file, now) {
		return in, nil
	}
	artifact, err := s.readRecord(key)
	if err != nil {
		return nil, err
	}
	if artifact.Size != now.Size() || !now.Mode().IsRegular() {
		s.logger.Error("binary does not have the size of its record; it has to be built again",
			"key", key, "size", now.Size(), "want", artifact.Size)
		if err := s.setAside(key, now); err != nil {
			return nil, err
		}
		return nil, errWrongSize
	}
	in := newInfo(artifact, now)
	s.hot.Add(key, in)
	if _, err := s.look(key); err != nil { // it may be back after another process evicted it
		return nil, err
	}
	return in, nil
}

func newInfo(artifact k6x.Artifact, file os.FileInfo) *info {
	return &info{digest: artifact.Digest, size: artifact.Size, stored: artifact.Stored,
		platform: artifact.Recipe.Platform, file: file}
}

// setAside removes a damaged binary, unless it was replaced meanwhile.
func (s *Store) setAside(key string, damaged os.FileInfo) error {
	return s.exclusive(func() error {
		now, err := os.Lstat(s.binary(key))
		if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, damaged) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.discard(s.binary(key)); err != nil {
			return err
		}
		s.hot.Remove(key)
		_, err = s.look(key)
		return err
	})
}

// Record implements [cache.Store].
func (s *Store) Record(ctx context.Context, key string) (k6x.Artifact, error) {
	if err := check(ctx, key); err != nil {
		return k6x.Artifact{}, err
	}
	artifact, err := s.readRecord(key)
	return artifact, fault("the record of the binary could not be read", s.mend(key, err))
}

// mend removes the artifact whose record could not be read, if that is what err says, so
// that it can be built again: then it returns ErrNotFound, else err.
func (s *Store) mend(key string, err error) error {
	if !errors.Is(err, errDamaged) {
		return err
	}
	return s.exclusive(func() error {
		if _, err := s.readRecord(key); !errors.Is(err, errDamaged) {
			return err
		}
		s.logger.Error("artifact with a damaged record removed", "key", key, "error", err)
		if err := s.discard(s.home(key)); err != nil {
			return err
		}
		if _, err := s.look(key); err != nil {
			return err
		}
		return cache.ErrNotFound
	})
}

// readRecord reads the record of key from the disk. It returns ErrNotFound or errDamaged.
func (s *Store) readRecord(key string) (k6x.Artifact, error) {
	data, err := disk.ReadFile(s.record(key), record.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := s.look(key); err != nil {
			return k6x.Artifact{}, err
		}
		return k6x.Artifact{}, cache.ErrNotFound
	}
	if err != nil {
		return k6x.Artifact{}, err
	}
	artifact, err := record.Decode(data)
	if err != nil {
		return k6x.Artifact{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return artifact, nil
}
