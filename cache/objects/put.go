package objects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"k6x"
	"k6x/internal/disk"
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
	work := s.temp()
	if err := s.fs.Mkdir(work); err != nil {
		return Object{}, fault(notStored, err)
	}
	defer func() {
		if err := s.fs.RemoveAll(work); err != nil {
			s.cfg.Logger.Warn("temporary directory cannot be removed", "dir", work, "error", err)
		}
	}()
	in := &intake{ctx: ctx, store: s, hash: sha256.New()}
	kept := false
	defer func() {
		if !kept {
			s.used.Add(-in.size)
		}
	}()
	if err := s.receive(filepath.Join(work, bodyName), in, body); err != nil {
		return Object{}, err
	}
	object := Object{ID: id, Checksum: hex.EncodeToString(in.hash.Sum(nil)), Size: in.size,
		Stored: s.cfg.Clock().UTC().Truncate(time.Second)}
	encoded, err := json.Marshal(object)
	if err == nil {
		err = s.fs.WriteFile(filepath.Join(work, recordName), encoded)
	}
	if err == nil {
		err = s.fs.SyncDir(work)
	}
	if err != nil {
		return Object{}, fault(notStored, err)
	}
	if err := ctx.Err(); err != nil {
		return Object{}, err
	}
	first, err := s.commit(work, object)
	kept = err == nil
	return first, err
}

// receive copies body into a new file and makes it durable.
func (s *Store) receive(name string, in *intake, body io.Reader) error {
	file, err := s.fs.Create(name, 0o644)
	if err != nil {
		return fault(notStored, err)
	}
	defer file.Close()
	in.file = file
	// Both are wrapped, so that neither brings a way to copy of its own.
	if _, err := io.CopyBuffer(struct{ io.Writer }{in}, struct{ io.Reader }{body}, make([]byte, 256<<10)); err != nil {
		return err
	}
	return fault(notStored, errors.Join(file.Sync(), file.Close()))
}

// intake counts, bounds and hashes what is on its way into the store.
type intake struct {
	ctx   context.Context // that of the Put which the intake lives in
	store *Store
	file  *disk.File
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
	n, err := in.file.Write(p)
	return n, fault(notStored, err)
}

// commit brings the directory work to its place, unless there is an object: then that one
// stays, and the error is ErrDuplicate.
func (s *Store) commit(work string, object Object) (Object, error) {
	s.commits.Lock()
	defer s.commits.Unlock()
	if !s.lock.Locked() {
		return Object{}, k6x.Errorf(k6x.Busy, "this store is about to stop").WithHint("Try again in a few seconds.")
	}
	home := s.home(object.ID)
	switch first, err := s.read(home); {
	case err == nil:
		return first, ErrDuplicate
	case !errors.Is(err, fs.ErrNotExist):
		return Object{}, fault(notStored, err)
	}
	if err := s.place(work, home); err != nil {
		return Object{}, fault(notStored, err)
	}
	s.count.Add(1)
	return object, nil
}

func (s *Store) place(work, home string) error {
	shard := filepath.Dir(home)
	if err := s.fs.Mkdir(shard); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := s.fs.SyncDir(filepath.Dir(shard)); err != nil {
		return err
	}
	// What is there without a record is no object.
	if _, err := os.Lstat(home); err == nil {
		if err := s.discard(home); err != nil {
			return err
		}
	}
	if err := s.fs.Rename(work, home); err != nil {
		return err
	}
	if err := s.fs.SyncDir(shard); err != nil {
		// In place, but it may not outlast a power cut: better nothing than perhaps.
		return errors.Join(err, s.discard(home))
	}
	return nil
}
