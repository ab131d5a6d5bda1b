package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/internal/disk"
)

const (
	staging    = "staging/"
	stagedLife = 5 * time.Minute // in which a binary is to be put there
)

// ErrNotStaged is the cause of an error, for errors.Is: what was to be put into the bucket is not there, which is also
// an [fs.ErrNotExist], or has another size.
var ErrNotStaged = errors.New("it was not put into the bucket")

// Staged is room in the bucket for one binary that another machine puts there.
type Staged struct {
	blob.SignedRequest // that puts it, once

	Size int64 // bytes

	store *Store
	name  string
	etag  string // of what was taken; "": nothing was
}

// Stage makes room in the bucket for a binary of so many bytes, until ctx ends.
//
// Errors: errors.ErrUnsupported if this kind of bucket, or of credentials, has nothing of the kind.
func (s *Store) Stage(ctx context.Context, size int64) (*Staged, error) {
	g := &Staged{store: s, name: staging + rand.Text(), Size: size}
	err := s.call(ctx, func(ctx context.Context) (err error) {
		g.SignedRequest, err = s.bucket.SignedPut(ctx, g.name, size, stagedLife)
		return err
	})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		for digest, other := range s.staged {
			if other == g {
				delete(s.staged, digest)
			}
		}
		s.mu.Unlock()
		s.tidy(ctx, g.name)
	})
	return g, nil
}

// Take writes what was put there to w, and returns its digest. As long as there is the room, a Put of the same bytes has the bucket copy them.
//
// Errors: [ErrNotStaged], those of a bucket, and that of w as it is.
func (g *Staged) Take(ctx context.Context, w io.Writer) (digest string, err error) {
	body := g.store.newBody(ctx, g.name, g.Size)
	defer body.close()
	digest, _, err = disk.Digest(io.TeeReader(body, w))
	switch {
	case isAbsent(err), errors.Is(err, errDamaged):
		return "", fmt.Errorf("%w: %w", ErrNotStaged, err)
	case err != nil:
		return "", err
	}
	g.store.mu.Lock()
	defer g.store.mu.Unlock()
	if g.etag = body.etag; g.etag != "" && ctx.Err() == nil {
		g.store.staged[digest] = g
	}
	return digest, nil
}

// copyStaged has the bucket copy an artifact from where another machine has put its bytes. It reports whether it is known to be whole then.
func (s *Store) copyStaged(ctx context.Context, name string, artifact k6x.Artifact, sums sums) bool {
	s.mu.Lock()
	g := s.staged[artifact.Digest]
	s.mu.Unlock()
	if g == nil {
		return false
	}
	var sent blob.Info
	err := s.call(ctx, func(ctx context.Context) (err error) {
		sent, err = s.bucket.Copy(ctx, g.name, g.etag, name, putOptions(artifact))
		return err
	})
	if err == nil && !sums.prove(sent) {
		err = s.readBack(ctx, name, artifact)
	}
	if err != nil {
		s.logger.Warn("what was put into the bucket is not copied there, but uploaded", "path", artifact.Path, "error", cause(err))
	}
	return err == nil
}
