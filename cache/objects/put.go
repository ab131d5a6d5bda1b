package objects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/dir"
)

const notStored = "the object could not be stored"

// Put stores what body has to give under id, durably and as a whole, or not at all. Memory
// is constant.
//
// If there is an object of that id, or one comes to be while body is read, that one stays: the
// error is ErrDuplicate, and the Object is the one that is there. An object that is too
// large is ErrTooLarge, one for which there is no room an error of kind [k6x.NoSpace]. An
// error of body is returned as it is.
func (s *Store) Put(ctx context.Context, id string, body io.Reader) (Object, error) {
	switch first, err := s.Get(ctx, id); {
	case err == nil:
		return first, ErrDuplicate
	case !errors.Is(err, ErrNotFound):
		return Object{}, err
	}
	draft, err := s.files.Draft(0o644)
	if err != nil {
		return Object{}, fault(notStored, err)
	}
	defer func() {
		if err := draft.Close(); err != nil {
			s.cfg.Logger.Warn("temporary file cannot be removed", "error", err)
		}
	}()
	in := &intake{ctx: ctx, store: s, draft: draft, hash: sha256.New()}
	kept := false
	defer func() {
		if !kept {
			s.used.Add(-in.size)
		}
	}()
	// Both are wrapped, so that neither brings a way to copy of its own.
	if _, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{body}, make([]byte, 256<<10)); err != nil {
		return Object{}, err
	}
	if err := draft.Sync(); err != nil {
		return Object{}, fault(notStored, err)
	}
	first, err := s.commit(ctx, draft, Object{
		ID: id, Checksum: hex.EncodeToString(in.hash.Sum(nil)), Size: in.size, Stored: s.cfg.Clock().UTC().Truncate(time.Second),
	})
	kept = err == nil
	return first, err
}

// intake counts, bounds and hashes what is on its way into the store.
type intake struct {
	ctx   context.Context // that of the Put which the intake lives in
	store *Store
	draft *dir.Draft
	hash  hash.Hash
	size  int64 // as it is counted in store.used
}

func (in *intake) Write(p []byte) (int, error) {
	more, cfg := int64(len(p)), in.store.cfg
	if err := in.ctx.Err(); err != nil {
		return 0, err
	}
	if in.size+more > cfg.MaxObject {
		return 0, ErrTooLarge
	}
	in.size += more
	if used := in.store.used.Add(more); cfg.Size > 0 && used > cfg.Size {
		return 0, k6x.Errorf(k6x.NoSpace, "the store is full: the object does not fit").
			WithHint("What is stored is never removed to make room; the operator has to raise the limit, or to start with a new directory.")
	}
	in.hash.Write(p)
	n, err := in.draft.Write(p)
	return n, fault(notStored, err)
}

// commit stores an object, unless there is one: then that one stays, and the error is ErrDuplicate.
func (s *Store) commit(ctx context.Context, draft *dir.Draft, object Object) (Object, error) {
	record, err := json.Marshal(object)
	if err != nil {
		return Object{}, fault(notStored, err)
	}
	s.commits.Lock()
	defer s.commits.Unlock()
	if !s.lock.Locked() {
		return Object{}, k6x.Errorf(k6x.Busy, "this store is about to stop").WithRetry(5 * time.Second)
	}
	switch first, err := s.Get(ctx, object.ID); {
	case err == nil:
		return first, ErrDuplicate
	case !errors.Is(err, ErrNotFound):
		return Object{}, err
	}
	home := s.home(object.ID)
	err = draft.Commit(ctx, home+bodyName)
	if err == nil {
		err = blob.PutBytes(ctx, s.files, home+recordName, record, blob.PutOptions{})
	}
	if err != nil {
		// What is in place may not outlast a power cut: better nothing than perhaps.
		if left := s.remove(home); left != nil {
			s.cfg.Logger.Error("what is in place of an object that was not stored cannot be removed", "dir", home, "error", left)
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Object{}, fault(notStored, err)
	}
	s.count.Add(1)
	return object, nil
}
