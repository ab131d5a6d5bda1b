// Package dir keeps artifacts in a directory, which several processes may share.
//
//	artifacts/<key[:2]>/<key>/binary         the bytes; missing if they were evicted
//	artifacts/<key[:2]>/<key>/artifact.json  the record
//	paths/<hash[:2]>/<hash>                  {path, key}; hash is the SHA-256 of the path
//	uploads/<key>                            still to be stored in the bucket behind (package tier)
//	tmp/<random>/                            what one process is working on; lock is held by it
//	lock                                     held while anything of the above is changed
//
// Each file is made below tmp and comes to its place by a rename, the record last, so that an artifact
// is there as a whole or not at all, whenever the process is killed. What dead processes left is removed by the next [Open].
//
// The modification time of a record, or of the binary if that is later, is the time of the last use, to the minute. Binaries are not touched:
// one whose times and number are what they were when its bytes were compared with the record need not be read again.
package dir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/bucket"
	"k6x/internal/disk"
)

// Config says where a store is and how large it may become.
type Config struct {
	Dir    string           // made if it does not exist
	Size   int64            // limit for binaries and records, in bytes; 0 means none
	Logger *slog.Logger     // nil discards
	Clock  func() time.Time // nil means time.Now

	Observe blob.Observer // as that of a [bucket.Config]
}

// Store is a [bucket.Store] in a directory.
type Store struct {
	*bucket.Store
	place *place
}

var _ cache.Limited = (*Store)(nil)

// Open opens the store in a directory, removes what killed processes left there, and
// takes stock of what is there.
func Open(cfg Config) (*Store, error) { return open(cfg, disk.FS{}) }

func open(cfg Config, steps disk.FS) (*Store, error) {
	steps.Of = "the store"
	if cfg.Dir == "" || cfg.Size < 0 {
		return nil, errors.New("a store needs a directory and a limit that is not negative")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	p, err := newPlace(dir, cfg.Logger, steps)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", cfg.Dir, err)
	}
	s, err := bucket.NewIn(context.Background(), p, bucket.Config{Size: cfg.Size, Logger: cfg.Logger, Clock: cfg.Clock, Observe: cfg.Observe})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", cfg.Dir, err), p.Close())
	}
	return &Store{s, p}, nil
}
