// Package workdir gives engines directories to build in, of which nothing is left once their
// process is dead and another one starts. A [Host] has besides these the directories and caches of the go command on this machine.
package workdir

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"k6x/internal/disk"
)

// Dir is a directory below which this process builds: work/<random>/. A lock in it
// is held as long as the process lives, so that others know whether it may be removed.
type Dir struct {
	Path string
	lock *flock.Flock
}

// LockName is the file that is in a [Dir] besides what it was made for.
const LockName = "lock"

// Open makes a directory below dir/work and removes those of dead processes.
func Open(ctx context.Context, dir string, log *slog.Logger) (*Dir, error) {
	all := filepath.Join(dir, "work")
	if err := os.MkdirAll(all, 0o755); err != nil {
		return nil, err
	}
	// One process at a time, so that none sweeps what another is about to lock.
	guard, err := disk.Lock(ctx, filepath.Join(dir, "work.lock"), false)
	if err != nil {
		return nil, err
	}
	defer guard.Close()
	if err := sweep(all, log); err != nil {
		return nil, err
	}
	own, err := os.MkdirTemp(all, "")
	if err != nil {
		return nil, err
	}
	lock, err := disk.Lock(ctx, filepath.Join(own, LockName), false)
	if err != nil {
		_ = RemoveAll(own)
		return nil, err
	}
	return &Dir{own, lock}, nil
}

// sweep removes the directories in all that no living process has locked.
func sweep(all string, log *slog.Logger) error {
	entries, err := os.ReadDir(all)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		dir := filepath.Join(all, entry.Name())
		if entry.IsDir() {
			lock, err := disk.TryLock(filepath.Join(dir, LockName), false)
			if err != nil || lock == nil { // its process lives
				continue
			}
			_ = lock.Close()
		}
		if err := RemoveAll(dir); err != nil {
			log.Warn("leftovers of a build cannot be removed", "dir", dir, "err", err)
			continue
		}
		log.Info("removed leftovers of a build", "dir", dir)
	}
	return nil
}

// Close removes the directory.
func (d *Dir) Close() error {
	err := d.lock.Close()
	if rmErr := RemoveAll(d.Path); err == nil {
		err = rmErr
	}
	return err
}

// RemoveAll removes dir also if directories in it are read-only, as those of a module
// are, and if a process that is just dying still writes there.
func RemoveAll(dir string) error {
	var err error
	for range 3 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				_ = os.Chmod(path, 0o700)
			}
			return nil
		})
	}
	return err
}
