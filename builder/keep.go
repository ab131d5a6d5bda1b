package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"k6x"
)

// keeper is what [Keep] needs of a store; *dir.Store and *mem.Store of package cache
// are some. E is the store's open binary.
type keeper[E io.Closer] interface {
	// Open fails if the bytes are not there.
	Open(ctx context.Context, key string) (E, error)
	// Record returns the record, also if the bytes were removed to make room.
	Record(ctx context.Context, key string) (k6x.Artifact, error)
	// Put stores what fill writes; if a whole artifact is there first, that one stays.
	Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error)) (k6x.Artifact, error)
}

// Keep returns a builder that makes with engine what store does not have. What was
// there once and had to make room is made again with the lock of its record. Missing
// is the error, for errors.Is, of the store's Record for a key that it never had.
//
// With a ctx of [WithRebuild], what is there is built again and compared. If the bytes differ,
// Build returns the record of those that are kept and [ErrDiffers].
func Keep[E io.Closer](engine Engine, store keeper[E], missing error) Builder {
	return &kept[E]{engine: engine, store: store, missing: missing}
}

type kept[E io.Closer] struct {
	engine  Engine
	store   keeper[E]
	missing error
}

func (k *kept[E]) Build(ctx context.Context, recipe k6x.Recipe) (k6x.Artifact, error) {
	key := recipe.Key()
	var lock *k6x.Lock
	record, err := k.store.Record(ctx, key)
	switch {
	case errors.Is(err, k.missing):
	case err != nil:
		return k6x.Artifact{}, err
	default:
		// The record alone does not tell whether the bytes are still there.
		if entry, err := k.store.Open(ctx, key); err == nil {
			if err := entry.Close(); err != nil || !Rebuild(ctx) {
				return record, err
			}
			return record, k.compare(ctx, record)
		}
		lock = &record.Build.Lock
	}
	return k.store.Put(ctx, recipe, func(w io.Writer) (k6x.Build, error) {
		return k.engine.Build(ctx, recipe, lock, w)
	})
}

// compare builds what the record says again, and returns ErrDiffers if that gives other bytes.
func (k *kept[E]) compare(ctx context.Context, record k6x.Artifact) error {
	digest := sha256.New()
	if _, err := k.engine.Build(ctx, record.Recipe, &record.Build.Lock, digest); err != nil {
		return err
	}
	if again := hex.EncodeToString(digest.Sum(nil)); again != record.Digest {
		return fmt.Errorf("%w: %s, kept is %s", ErrDiffers, again, record.Digest)
	}
	return nil
}
