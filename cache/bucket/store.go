package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/blob/dir"
	"k6x/internal/disk"
)

const notStored = "the binary could not be stored"

// PutAfter is Put, if no whole artifact is there. If there is an elsewhere, the artifact comes to be there first, and elsewhere
// returns the record of what there is from then on; later: it fails, but the artifact is to be kept here until it can be there. In a [Place] it is kept then too, unless that is of other bytes, or there is no room.
func (s *Store) PutAfter(ctx context.Context, recipe k6x.Recipe, bind bool, fill func(io.Writer) (k6x.Build, error),
	elsewhere func(artifact k6x.Artifact, body io.ReaderAt) (first k6x.Artifact, later bool, err error)) (k6x.Artifact, error) {
	artifact := k6x.Artifact{Recipe: recipe, Path: recipe.Path()}
	d, err := s.draft(ctx)
	if err != nil {
		return k6x.Artifact{}, err
	}
	defer s.end(d)
	limit := s.cfg.Size
	if elsewhere != nil && s.own != nil {
		limit = 0 // what is too large to be kept here may be kept there
	}
	body, artifact, err := s.receive(ctx, d, limit, artifact, fill)
	if err != nil {
		return k6x.Artifact{}, s.filled(err)
	}
	if elsewhere == nil {
		body.Close() // where open files cannot be moved
		artifact, err = s.store(ctx, d, artifact, bind)
		return artifact, fault(notStored, err)
	}
	first, later, err := elsewhere(artifact, body)
	body.Close()
	if later {
		first, failed := s.store(context.WithoutCancel(ctx), d, artifact, false)
		if failed != nil {
			return first, errors.Join(err, failed)
		}
		return first, nil
	}
	if err == nil && s.own != nil && first.Digest == artifact.Digest {
		if _, err := s.store(context.WithoutCancel(ctx), d, first, bind); err != nil {
			s.logger.Warn("binary is stored, but cannot be kept on the local disk", "path", first.Path, "error", err)
		}
	}
	return first, err
}

// Copy stores what another store has, under the same rules as Put: the record stays as it
// is, and what fill writes has to be the bytes that it names. No path is bound. It returns the record of
// what is here from now on. What was written can be read from written at once; verified is called once it has the digest. Fill closes written.
func (s *Store) Copy(ctx context.Context, artifact k6x.Artifact, fill func(w io.Writer, written blob.Bytes) error, verified func()) (k6x.Artifact, error) {
	first, err := s.Whole(ctx, artifact.Recipe.Key())
	if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
		return first, err
	}
	d, err := s.draft(ctx)
	if err != nil {
		return k6x.Artifact{}, err
	}
	defer s.end(d)
	written, err := d.Open()
	if err != nil {
		return k6x.Artifact{}, fault(notStored, err)
	}
	body, artifact, err := s.receive(ctx, d, s.cfg.Size, artifact, func(w io.Writer) (k6x.Build, error) { return artifact.Build, fill(w, written) })
	if err != nil {
		return k6x.Artifact{}, s.filled(err)
	}
	verified()
	body.Close()
	artifact, err = s.store(ctx, d, artifact, false)
	return artifact, fault(notStored, err)
}

// draft begins the bytes of a binary.
func (s *Store) draft(ctx context.Context) (d Draft, err error) {
	err = s.roomy(ctx, s.exclusive, func() error {
		if s.own != nil {
			d, err = s.own.place.Draft()
			return err
		}
		temp := os.TempDir()
		file, err := dir.In(temp, temp, disk.FS{Of: "temporary files"}).Draft(0o600)
		d = spool{file}
		return err
	})
	if err != nil {
		return nil, s.filled(fault(notStored, err))
	}
	return d, nil
}

// spool is a file that is read and removed.
type spool struct{ *dir.Draft }

func (spool) Sync() error { return nil }

func (s *Store) end(d Draft) {
	if err := d.Close(); err != nil {
		s.logger.Warn("temporary file cannot be removed", "error", err)
	}
}

// receive runs fill into a draft of at most limit bytes (0: as many as there are), makes that durable, and reads it back, unless it is a
// file whose digest was given. It returns the bytes and the artifact that they are of. If that names bytes already, they have to be these. An error of fill is returned as it is.
func (s *Store) receive(ctx context.Context, d Draft, limit int64, artifact k6x.Artifact, fill func(io.Writer) (k6x.Build, error)) (blob.Bytes, k6x.Artifact, error) {
	in := &intake{ctx: ctx, store: s, draft: d, hash: sha256.New(), limit: limit}
	build, err := fill(in)
	switch {
	case in.err != nil && !(err != nil && errors.Is(in.err, ctx.Err())): // also if fill did not notice
		err = in.err
	case err == nil && ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && in.size == 0:
		err = k6x.Errorf(k6x.Internal, "the build wrote no binary")
	}
	if err != nil {
		return nil, k6x.Artifact{}, err
	}
	wrote := hex.EncodeToString(in.hash.Sum(nil))
	body, err := d.Open()
	if err != nil {
		return nil, k6x.Artifact{}, fault(notStored, err)
	}
	// Waiting for the disk and reading back are the same to the result in any order,
	// and take half as long at once.
	synced := make(chan error, 1)
	go func() { synced <- d.Sync() }()
	digest, size := in.digest, in.size
	if digest == "" {
		digest, size, err = disk.Digest(body)
		if err == nil && (!in.adopted && digest != wrote || size != in.size) {
			err = fmt.Errorf("the disk returned other bytes than were written: %d with digest %s, want %d with %s", size, digest, in.size, wrote)
		}
	}
	if err = errors.Join(<-synced, err); err == nil && artifact.Digest != "" && (artifact.Digest != digest || artifact.Size != size) {
		err = k6x.Errorf(k6x.Unavailable, "the binary arrived damaged from where it is stored").
			WithCause(fmt.Errorf("%d bytes with digest %s, want %d with %s", size, digest, artifact.Size, artifact.Digest))
	}
	if err != nil {
		body.Close()
		return nil, k6x.Artifact{}, fault(notStored, err)
	}
	artifact.Digest, artifact.Size, artifact.Build = digest, size, build
	if artifact.Stored.IsZero() {
		artifact.Stored = s.cfg.Clock().UTC().Truncate(time.Second)
	}
	return body, artifact, nil
}

// store makes a draft an artifact of the place, unless one is there: then that one stays. It returns the record of what is there from now on.
func (s *Store) store(ctx context.Context, d Draft, artifact k6x.Artifact, bind bool) (first k6x.Artifact, err error) {
	key := artifact.Recipe.Key()
	encoded, artifact, err := encodeRecord(artifact)
	if err != nil {
		return k6x.Artifact{}, err
	}
	err = s.exclusive(func() error {
		if err := s.refresh(ctx); err != nil {
			return err
		}
		if first, err = s.readRecord(ctx, key); errors.Is(err, cache.ErrNotFound) {
			first = artifact
			return s.create(ctx, d, artifact, encoded, bind)
		}
		whole := false
		if err == nil {
			whole, err = s.settled(ctx, key, first, artifact)
		}
		if err == nil && !whole {
			err = s.restore(ctx, d, first)
		}
		if err == nil && bind {
			_, _, err = s.bindLocked(ctx, first.Path, key)
		}
		return err
	})
	if err = s.filled(err); err != nil {
		return k6x.Artifact{}, err
	}
	return first, nil
}

// filled notes for [Store.Stats] whether a write failed as the disk is full, and returns err.
func (s *Store) filled(err error) error {
	if s.own == nil || err != nil && !disk.IsFull(err) {
		return err
	}
	s.own.mu.Lock()
	defer s.own.mu.Unlock()
	if s.own.full = ""; err != nil {
		s.own.full = k6x.AsError(err).Message
	}
	return err
}

// create stores an artifact under a key that has none. It is called under exclusive.
func (s *Store) create(ctx context.Context, d Draft, artifact k6x.Artifact, encoded []byte, bind bool) (err error) {
	key, wrote := artifact.Recipe.Key(), false
	// 1. What it takes the room of goes.
	if err := s.makeRoom(ctx, key, int64(len(encoded)), artifact.Size); err != nil {
		return err
	}
	defer func() {
		// What is in place may not outlast a power cut: better nothing than perhaps.
		if err != nil {
			err = errors.Join(err, s.discard(ctx, s.home(key)))
		}
		if err != nil && wrote {
			err = errors.Join(err, s.discard(ctx, s.binding(artifact.Path)))
		}
	}()
	// 2. The binding counts once there is a record.
	if bind {
		if _, wrote, err = s.bindLocked(ctx, artifact.Path, key); err != nil {
			return err
		}
	}
	// 3. The bytes become durable in their place.
	if err := s.roomy(ctx, locked, func() error { return d.Commit(ctx, s.binary(key, artifact.Digest)) }); err != nil {
		return err
	}
	// 4. The artifact comes to be.
	if err := s.roomy(ctx, locked, func() error { return s.write(ctx, s.record(key), encoded, false) }); err != nil {
		return err
	}
	s.entered(ctx, artifact, int64(len(encoded)), false)
	return nil
}

// restore puts the bytes of an evicted artifact back. It is called under exclusive.
func (s *Store) restore(ctx context.Context, d Draft, first k6x.Artifact) error {
	key := first.Recipe.Key()
	s.own.mu.Lock()
	item, _ := s.own.ledger.Get(key)
	s.own.mu.Unlock()
	if err := s.makeRoom(ctx, key, item.Record, first.Size); err != nil {
		return err
	}
	if err := s.roomy(ctx, locked, func() error { return d.Commit(ctx, s.binary(key, first.Digest)) }); err != nil {
		return errors.Join(err, s.discard(ctx, s.binary(key, first.Digest)))
	}
	s.entered(ctx, first, item.Record, true)
	return nil
}
