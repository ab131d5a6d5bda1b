package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"k6x"
	"k6x/cache"
	"k6x/event"
)

// ErrDiffers is the error, for errors.Is, of a rebuild that gave other bytes than those
// that are kept. The artifact that comes with it is the kept one, which stays.
var ErrDiffers = errors.New("building it again gives other bytes than those that are kept")

// Keep returns a builder that makes with engine what store does not have. What was
// there once and had to make room is made again with the lock of its record.
//
// A job with Rebuild reads what is there, builds it again and compares; nothing that is kept changes, unless it is damaged. If the bytes
// differ, Build returns the record of those that are kept and [ErrDiffers]. If it avoids who made them, it goes without their lock.
//
// Events takes those from Started to Finished; nil: no events are wanted.
func Keep(engine Engine, store cache.Store, events event.Sink) Builder {
	return &kept{engine: engine, store: store, events: events}
}

type kept struct {
	engine Engine
	store  cache.Store
	events event.Sink
}

func (k *kept) Build(ctx context.Context, job Job) (k6x.Artifact, error) {
	key := job.Recipe.Key()
	record, err := k.store.Record(ctx, key)
	switch {
	case errors.Is(err, cache.ErrNotFound):
	case err != nil:
		return k6x.Artifact{}, err
	default:
		if !job.Rebuild || len(job.Avoid) == 0 { // else the lock is judged too
			job.Lock = &record.Build.Lock
		}
		// The record alone does not tell whether the bytes are still there, nor whether they are those.
		err := k.there(ctx, key, job.Rebuild)
		switch {
		case err == nil && job.Rebuild:
			job.Recipe = record.Recipe
			return record, k.compare(ctx, job, record.Digest)
		case err == nil:
			return record, nil
		}
		if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return k6x.Artifact{}, err
		}
	}
	return k.store.Put(ctx, job.Recipe, func(w io.Writer) (k6x.Build, error) { return Run(ctx, k.engine, job, k.events, w) }, cache.Looked)
}

// there returns an error unless the bytes under key are there, and if they are to be read, are those of the record.
func (k *kept) there(ctx context.Context, key string, read bool) error {
	if read {
		return k.store.Verify(ctx, key)
	}
	entry, err := k.store.Open(ctx, key)
	if err != nil {
		return err
	}
	return entry.Close()
}

// compare builds a job, and returns ErrDiffers unless that gives the bytes of that digest.
func (k *kept) compare(ctx context.Context, job Job, digest string) error {
	hash := sha256.New()
	if _, err := Run(ctx, k.engine, job, k.events, hash); err != nil {
		return err
	}
	if again := hex.EncodeToString(hash.Sum(nil)); again != digest {
		return fmt.Errorf("%w: %s, kept is %s", ErrDiffers, again, digest)
	}
	return nil
}
