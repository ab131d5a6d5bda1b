package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"k6x"
	"k6x/cache"
)

// Put implements [cache.Store]. Memory is constant: the binary waits in a temporary file,
// until all of it is known and it gets its name. So a fill that fails, or that ends
// late, leaves nothing.
func (s *Store) Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), options ...cache.PutOption) (k6x.Artifact, error) {
	if err := ctx.Err(); err != nil {
		return k6x.Artifact{}, err
	}
	bind := !slices.Contains(options, cache.Unbound)
	if !slices.Contains(options, cache.Looked) {
		first, err := s.Whole(ctx, recipe.Key())
		if err == nil && bind {
			_, err = s.bind(ctx, first.Path, recipe.Key())
		}
		if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return first, err
		}
	}
	if s.own != nil {
		return s.PutAfter(ctx, recipe, bind, fill, nil)
	}
	return s.PutAfter(ctx, recipe, bind, fill, func(artifact k6x.Artifact, body io.ReaderAt) (k6x.Artifact, bool, error) {
		first, _, err := s.Import(ctx, artifact, bind, body)
		return first, false, err
	})
}

// Import stores an artifact whose record and bytes are known, under the same rules as
// Put: it returns the record of what is there from now on, which is another one if that was
// first. The bytes of body have to be those of the record. If its path is to be bound, it returns what that is bound to.
func (s *Store) Import(ctx context.Context, artifact k6x.Artifact, bind bool, body io.ReaderAt) (first k6x.Artifact, bound string, err error) {
	if s.cfg.Size > 0 && artifact.Size > s.cfg.Size {
		return k6x.Artifact{}, "", NoRoom()
	}
	key := artifact.Recipe.Key()
	encoded, artifact, err := encodeRecord(artifact)
	if err != nil {
		return k6x.Artifact{}, "", k6x.Errorf(k6x.Internal, notStored).WithCause(err)
	}
	name := s.binary(key, artifact.Digest)
	if err := s.upload(ctx, name, artifact, body); err != nil {
		s.takeBack(ctx, key, artifact.Digest, err)
		return k6x.Artifact{}, "", err
	}
	first, err = s.commit(ctx, key, artifact, encoded)
	if err == nil && bind {
		bound, err = s.bind(ctx, first.Path, key)
	}
	return first, bound, err
}

// takeBack removes what an upload that failed may have left. The same bytes of another
// service may be there by now, with a record that names them: those stay, unless it is
// known that they are damaged.
func (s *Store) takeBack(ctx context.Context, key, digest string, failed error) {
	first, err := s.Record(context.WithoutCancel(ctx), key)
	if errors.Is(failed, errDamaged) || errors.Is(err, cache.ErrNotFound) || err == nil && first.Digest != digest {
		s.tidy(ctx, s.binary(key, digest))
	}
}

// settled says what becomes of an artifact whose key has the record first already: it is
// whole, or the bytes have to be put back, or they are others and that is an error.
func (s *Store) settled(ctx context.Context, key string, first, artifact k6x.Artifact) (whole bool, err error) {
	if first.Digest != artifact.Digest {
		s.logger.Error("a second build of one recipe gave other bytes; the first stays",
			"key", key, "path", first.Path, "digest", artifact.Digest, "first", first.Digest)
	}
	whole, err = s.hasBinary(ctx, key, first)
	if err == nil && !whole && first.Digest != artifact.Digest {
		err = k6x.Errorf(k6x.Internal, "building %s again did not give the bytes that it had before", first.Path).
			WithCause(fmt.Errorf("digest %s, but the record of %s has %s", artifact.Digest, key, first.Digest))
	}
	return whole, err
}

// commit writes the record of an artifact whose bytes are there, unless there is one.
func (s *Store) commit(ctx context.Context, key string, artifact k6x.Artifact, encoded []byte) (k6x.Artifact, error) {
	err := ctx.Err()
	if err == nil {
		err = s.putOnce(ctx, s.record(key), encoded)
	}
	if err == nil {
		return artifact, nil
	}
	// Whether the record is there is not known before it was looked for: the answer to the
	// write may have been lost.
	look := context.WithoutCancel(ctx)
	first, lookErr := s.Record(look, key)
	switch {
	case errors.Is(lookErr, cache.ErrNotFound) || lookErr == nil && first.Digest != artifact.Digest:
		s.tidy(ctx, s.binary(key, artifact.Digest))
	case lookErr != nil && isTaken(err):
		return k6x.Artifact{}, lookErr
	}
	if lookErr != nil {
		return k6x.Artifact{}, explain(ctx, err)
	}
	if whole, err := s.settled(look, key, first, artifact); err != nil || !whole {
		return k6x.Artifact{}, errors.Join(err, ctx.Err())
	}
	return first, nil
}
