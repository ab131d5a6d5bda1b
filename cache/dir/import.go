package dir

import (
	"context"
	"errors"
	"fmt"
	"io"

	"k6x"
	"k6x/cache"
)

// Import stores what another store has, under the same rules as Put: the record stays as it
// is, and what fill writes has to be the bytes that it names. No path is bound. It returns the record of
// what is here from now on.
func (s *Store) Import(ctx context.Context, artifact k6x.Artifact, fill func(w io.Writer) error) (k6x.Artifact, error) {
	if first, err := s.whole(ctx, artifact.Recipe.Key()); err == nil {
		return first, nil
	} else if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
		return k6x.Artifact{}, err
	}
	return s.put(ctx, artifact, false, func(w io.Writer) (k6x.Build, error) { return artifact.Build, fill(w) })
}

// asNamed reports whether the bytes that came are those that a record names already.
func asNamed(artifact k6x.Artifact, digest string, size int64) error {
	if artifact.Digest == "" || artifact.Digest == digest && artifact.Size == size {
		return nil
	}
	return k6x.Errorf(k6x.Unavailable, "the binary arrived damaged from where it is stored").WithHint("Try again.").
		WithCause(fmt.Errorf("%d bytes with digest %s, want %d with %s", size, digest, artifact.Size, artifact.Digest))
}
