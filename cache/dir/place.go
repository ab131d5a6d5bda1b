package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"

	"k6x"
	blobdir "k6x/cache/blob/dir"
	"k6x/cache/bucket"
	"k6x/internal/disk"
)

// place is the directory of a store.
type place struct {
	*blobdir.Bucket
	dir    string
	logger *slog.Logger
	fs     disk.FS

	tmp   string       // the directory below tmp that is ours
	alive *flock.Flock // held on tmp/lock for as long as the store is open
	temps atomic.Int64 // names used below tmp

	lock   *flock.Flock
	shards map[string]time.Time // by lock: modification time of each directory below artifacts when it was last read
}

var _ bucket.Place = (*place)(nil)

// newPlace makes the directories, sweeps, and makes a directory below tmp.
func newPlace(dir string, logger *slog.Logger, steps disk.FS) (*place, error) {
	for _, sub := range []string{"artifacts", "paths", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("make the directory of the store: %w", steps.Explain(err))
		}
	}
	p := &place{dir: dir, logger: logger, fs: steps, lock: flock.New(filepath.Join(dir, "lock")), shards: map[string]time.Time{}}
	unlock, err := p.Lock()
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", steps.Explain(err))
	}
	defer unlock()
	if err := p.sweep(); err != nil {
		return nil, err
	}
	if p.tmp, err = os.MkdirTemp(filepath.Join(dir, "tmp"), ""); err != nil {
		return nil, steps.Explain(err)
	}
	p.alive = flock.New(filepath.Join(p.tmp, "lock"))
	if err := p.alive.Lock(); err != nil {
		return nil, errors.Join(fmt.Errorf("lock a directory for temporary files: %w", err), os.RemoveAll(p.tmp))
	}
	p.Bucket = blobdir.In(dir, p.tmp, steps)
	return p, nil
}

// sweep removes the temporary directories of processes that live no more. No process can
// be between making and locking its own, as that is done under the lock of the store.
func (p *place) sweep() error {
	tmp := filepath.Join(p.dir, "tmp")
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := filepath.Join(tmp, entry.Name())
		if entry.IsDir() {
			owner := flock.New(filepath.Join(name, "lock"))
			dead, err := owner.TryLock()
			if !dead {
				if err != nil {
					p.logger.Warn("temporary directory cannot be locked", "dir", name, "error", err)
				}
				continue
			}
			owner.Close()
		}
		if err := os.RemoveAll(name); err != nil {
			p.logger.Warn("leftover cannot be removed", "name", name, "error", err)
			continue
		}
		p.logger.Info("leftover of a killed process removed", "name", name)
	}
	return nil
}

// Close removes what is on its way in. All that writes fails from then on.
func (p *place) Close() error {
	// Closed before it is removed: where open files cannot be removed, an early sweep does no harm.
	return errors.Join(p.alive.Close(), os.RemoveAll(p.tmp))
}

// Lock implements [bucket.Place].
func (p *place) Lock() (unlock func(), err error) {
	if err := p.lock.Lock(); err != nil {
		return nil, err
	}
	return func() { p.lock.Unlock() }, nil
}

// Changed implements [bucket.Place]: it reads the directories below artifacts that changed since they were last read.
func (p *place) Changed(context.Context) (prefixes, keys []string, seen func(), err error) {
	root := filepath.Join(p.dir, "artifacts")
	shards, err := os.ReadDir(root)
	if err != nil {
		return nil, nil, nil, err
	}
	read := map[string]time.Time{}
	for _, shard := range shards {
		prefix := shard.Name()
		info, err := shard.Info()
		if err != nil || !info.IsDir() || len(prefix) != 2 || info.ModTime().Equal(p.shards[prefix]) {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(root, prefix))
		if err != nil {
			return nil, nil, nil, err
		}
		for _, entry := range entries {
			if key := entry.Name(); k6x.CheckKey(key) == nil && key[:2] == prefix {
				keys = append(keys, key)
			}
		}
		prefixes = append(prefixes, prefix)
		read[prefix] = info.ModTime()
	}
	return prefixes, keys, func() { maps.Copy(p.shards, read) }, nil
}

// Note implements [bucket.Place]: a directory below artifacts is not read again for a change of our own.
func (p *place) Note(key string, again bool) {
	shard := filepath.Join(p.dir, "artifacts", key[:2])
	if again { // the change was one level down: this tells the other processes to look
		if err := p.fs.Touch(shard, time.Now()); err != nil {
			p.logger.Warn("other processes will not see at once that a binary is back", "key", key, "error", err)
		}
	}
	if info, err := os.Stat(shard); err == nil {
		p.shards[key[:2]] = info.ModTime()
	}
}

// Discard implements [bucket.Place].
func (p *place) Discard(_ context.Context, name string) (remove func(), err error) {
	aside := filepath.Join(p.tmp, strconv.FormatInt(p.temps.Add(1), 10))
	err = p.fs.Rename(p.file(name), aside)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	return func() {
		if err := p.fs.RemoveAll(aside); err != nil {
			p.logger.Warn("temporary file cannot be removed", "name", aside, "error", err)
		}
	}, err
}

// Touch implements [bucket.Place].
func (p *place) Touch(_ context.Context, name string, to time.Time) error {
	return p.fs.Touch(p.file(name), to)
}

func (p *place) file(name string) string { return filepath.Join(p.dir, filepath.FromSlash(name)) }

// Draft implements [bucket.Place].
func (p *place) Draft() (bucket.Draft, error) { return p.Bucket.Draft(0o755) }
