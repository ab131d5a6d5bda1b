package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/internal/ledger"
	"k6x/cache/internal/record"
	"k6x/internal/disk"
)

const notStored = "the binary could not be stored"

// Put implements [cache.Store]. Memory is constant, whatever fill writes.
func (s *Store) Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), options ...cache.PutOption) (k6x.Artifact, error) {
	bind := !slices.Contains(options, cache.Unbound)
	if !slices.Contains(options, cache.Looked) {
		first, err := s.whole(ctx, recipe.Key())
		if err == nil && bind {
			_, err = s.Bind(ctx, first.Path, recipe.Key())
		}
		if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return first, err
		}
	}
	return s.put(ctx, k6x.Artifact{Recipe: recipe, Path: recipe.Path()}, bind, fill)
}

// put stores what fill writes, and binds its path. Of the artifact recipe and path are needed; what else is there has to fit.
func (s *Store) put(ctx context.Context, artifact k6x.Artifact, bind bool, fill record.Fill) (k6x.Artifact, error) {
	work := s.temp()
	if err := s.fs.Mkdir(work, 0o755); err != nil {
		return k6x.Artifact{}, fault(notStored, err)
	}
	defer s.remove(work)
	got, err := s.receive(ctx, filepath.Join(work, "binary"), fill)
	if err != nil {
		return k6x.Artifact{}, err
	}
	if err := asNamed(artifact, got.Digest, got.Size); err != nil {
		return k6x.Artifact{}, err
	}
	artifact.Digest, artifact.Size, artifact.Build = got.Digest, got.Size, got.Build
	if artifact.Stored.IsZero() {
		artifact.Stored = s.clock().UTC().Truncate(time.Second)
	}
	encoded, artifact, err := record.Encode(artifact)
	if err == nil {
		err = s.fs.WriteFile(filepath.Join(work, "artifact.json"), encoded)
	}
	if err == nil {
		err = s.fs.SyncDir(work)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return k6x.Artifact{}, fault(notStored, err)
	}
	err = s.exclusive(func() error {
		artifact, err = s.commit(artifact.Recipe.Key(), work, artifact, bind, int64(len(encoded)))
		return err
	})
	if err != nil {
		return k6x.Artifact{}, fault(notStored, err)
	}
	return artifact, nil
}

// whole returns the record of key if its bytes are there too.
func (s *Store) whole(ctx context.Context, key string) (k6x.Artifact, error) {
	entry, err := s.Open(ctx, key)
	if err != nil {
		return k6x.Artifact{}, err
	}
	defer entry.Close()
	return s.Record(ctx, key)
}

// receive runs fill into a new file, makes it durable, and reads it back. An error of fill
// is returned as it is.
func (s *Store) receive(ctx context.Context, name string, fill record.Fill) (record.Received, error) {
	file, err := s.fs.Create(name, 0o755)
	if err != nil {
		return record.Received{}, fault(notStored, err)
	}
	w := &writer{fs: s.fs, name: name, file: file}
	defer func() { w.file.Close() }()
	got, err := record.Receive(ctx, w, s.size, fill)
	if err != nil {
		return record.Received{}, err
	}
	if err := s.fs.Touch(name, s.clock()); err != nil {
		return record.Received{}, fault(notStored, err)
	}
	// Waiting for the disk and reading back are the same to the result in any order,
	// and take half as long at once.
	synced := make(chan error, 1)
	go func() { synced <- w.file.Sync() }()
	got, err = verified(name, got)
	if err := errors.Join(<-synced, w.file.Close(), err); err != nil {
		return record.Received{}, fault(notStored, err)
	}
	return got, nil
}

// writer gives errors of the disk words for the user, as fill may pass them on.
type writer struct {
	fs   disk.FS
	name string
	file *disk.File
}

var _ cache.Adopter = (*writer)(nil)

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	return n, fault(notStored, err)
}

// Adopt implements [cache.Adopter].
func (w *writer) Adopt(name string) error {
	file, err := w.fs.Adopt(name, w.name, 0o755)
	if errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err != nil {
		return fault(notStored, err)
	}
	w.file.Close() // of the empty file that was there
	w.file = file
	return nil
}

// verified reads a file and returns what was received, with the digest of a file that was adopted. It is an error if these are
// not the bytes that were written.
func verified(name string, got record.Received) (record.Received, error) {
	file, err := os.Open(name)
	if err != nil {
		return got, err
	}
	defer file.Close()
	digest, size, err := disk.Digest(file)
	if got.Digest == "" {
		got.Digest = digest
	}
	if err == nil && (digest != got.Digest || size != got.Size) {
		err = fmt.Errorf("the disk returned other bytes than were written: %d with digest %s, want %d with %s",
			size, digest, got.Size, got.Digest)
	}
	return got, err
}

// commit brings the artifact in the directory work to its place, unless one is there:
// then that one stays. It returns the record of what is there from now on. It is called
// under exclusive.
func (s *Store) commit(key, work string, artifact k6x.Artifact, bind bool, recordSize int64) (k6x.Artifact, error) {
	if err := s.refresh(); err != nil {
		return k6x.Artifact{}, err
	}
	first, err := s.readRecord(key)
	if errors.Is(err, cache.ErrNotFound) {
		return artifact, s.commitNew(key, work, artifact, bind, recordSize)
	}
	if err != nil {
		return k6x.Artifact{}, err
	}
	if bind {
		if _, err := s.bind(first.Path, key); err != nil {
			return k6x.Artifact{}, err
		}
	}
	same := first.Digest == artifact.Digest
	if !same {
		s.logger.Error("a second build of one recipe gave other bytes; the first stays",
			"key", key, "path", first.Path, "digest", artifact.Digest, "first", first.Digest)
	}
	switch file, err := os.Lstat(s.binary(key)); {
	case err == nil && file.Size() == first.Size:
		return first, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return k6x.Artifact{}, err
	case !same:
		return k6x.Artifact{}, k6x.Errorf(k6x.Internal, "building %s again did not give the bytes that it had before", first.Path).
			WithCause(fmt.Errorf("digest %s, but the record of %s has %s", artifact.Digest, key, first.Digest))
	}
	return first, s.commitAgain(key, work, first)
}

// commitNew stores an artifact under a key that has none. The binding of its path is written first: it counts
// from the moment at which there is a record.
func (s *Store) commitNew(key, work string, artifact k6x.Artifact, bind bool, recordSize int64) (err error) {
	if err := s.makeRoom(key, recordSize, artifact.Size); err != nil {
		return err
	}
	shard := s.shard(key)
	if err := s.makeShard(shard); err != nil {
		return err
	}
	if _, err := os.Lstat(s.home(key)); err == nil { // without a record, so no artifact
		if err := s.discard(s.home(key)); err != nil {
			return err
		}
	}
	if _, bound := s.lookup(artifact.Path); bind && errors.Is(bound, cache.ErrNotFound) {
		if err := s.writeBinding(artifact.Path, key); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				s.remove(s.binding(artifact.Path))
			}
		}()
	} else if bind && bound != nil {
		return bound
	}
	if err := s.fs.Rename(work, s.home(key)); err != nil {
		return err
	}
	if err := s.fs.SyncDir(shard); err != nil {
		// In place, but it may not outlast a power cut: better nothing than perhaps.
		return errors.Join(err, s.discard(s.home(key)))
	}
	s.entered(key, artifact, recordSize)
	return nil
}

// makeShard makes a directory below artifacts or paths durable, which may be there already.
func (s *Store) makeShard(shard string) error {
	if err := s.fs.Mkdir(shard, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.fs.SyncDir(filepath.Dir(shard))
}

// commitAgain puts the bytes of an evicted artifact back.
func (s *Store) commitAgain(key, work string, first k6x.Artifact) error {
	s.mu.Lock()
	item, _ := s.ledger.Get(key)
	s.mu.Unlock()
	if err := s.makeRoom(key, item.Record, first.Size); err != nil {
		return err
	}
	if err := s.fs.Rename(filepath.Join(work, "binary"), s.binary(key)); err != nil {
		return err
	}
	if err := s.fs.SyncDir(s.home(key)); err != nil {
		return errors.Join(err, s.discard(s.binary(key)))
	}
	// The change was one level down: this tells the other processes to look.
	if err := s.fs.Touch(s.shard(key), time.Now()); err != nil {
		s.logger.Warn("other processes will not see at once that a binary is back", "key", key, "error", err)
	}
	s.entered(key, first, item.Record)
	return nil
}

// entered enters an artifact that has come to its place.
func (s *Store) entered(key string, artifact k6x.Artifact, recordSize int64) {
	s.noteShard(key)
	now := s.clock()
	s.mu.Lock()
	s.ledger.Set(key, ledger.Item{Record: recordSize, Binary: artifact.Size, Used: now})
	s.mu.Unlock()
	if file, err := os.Lstat(s.binary(key)); err == nil {
		in := newInfo(artifact, file)
		in.touched.Store(now.Unix())
		s.hot.Add(key, in)
	}
}
