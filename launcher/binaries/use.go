package binaries

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"k6x"
	"k6x/internal/disk"
)

// Use checks a binary that is about to be run, notes the time of its use, and keeps it from
// being removed until release is called or this process ends or becomes another (exec). A
// damaged one is removed: the error then is an [ErrDamaged]; if it is no longer there, an [ErrGone].
//
// A file that has size and modification time of when it was added is taken to be undamaged without reading it. That is enough
// against accidents; a program that writes the file and sets its time back could write the record beside it as well. It is not enough where
// records are sealed, as a project could bring a file with any time: there all bytes are read each time.
func (d *Dir) Use(ctx context.Context, b Binary) (release func(), err error) {
	secret, err := d.secret()
	if err != nil {
		return nil, err
	}
	lock, err := d.hold(b)
	if err != nil {
		return nil, err
	}
	release = func() { _ = lock.Close() } // there is nothing left to do about a lock that does not close
	if err := d.check(ctx, b.id, secret); err != nil {
		release()
		if ctx.Err() != nil {
			return nil, k6x.CanceledBy(ctx)
		}
		return nil, d.drop(ctx, b, secret, err)
	}
	now := d.cfg.Clock()
	_ = os.Chtimes(filepath.Join(d.home(b.id), recordName), now, now) // not in a directory that is read only
	return release, nil
}

// Check is [Dir.Use] for a binary that is not run now.
func (d *Dir) Check(ctx context.Context, b Binary) error {
	release, err := d.Use(ctx, b)
	if err == nil {
		release()
	}
	return err
}

// hold takes a shared lock on an entry.
func (d *Dir) hold(b Binary) (*flock.Flock, error) {
	name := filepath.Join(d.home(b.id), lockName)
	lock, err := disk.TryLock(name, true, flock.SetFlag(os.O_RDONLY)) // not made: it is part of the entry
	if errors.Is(err, fs.ErrNotExist) || err == nil && lock == nil {  // another launcher holds it alone, to remove it
		return nil, gone(b)
	}
	if err != nil {
		return nil, fault(err)
	}
	// Between opening and locking it may have been moved away.
	held, err := lock.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(name); err == nil && !os.SameFile(held, there) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(gone(b), lock.Close())
	}
	return lock, nil
}

func gone(b Binary) error {
	return k6x.Errorf(k6x.Busy, "the kept binary %s was just removed", b.Path).WithHint("Try again.").WithCause(ErrGone)
}

// check returns an error unless the file of an entry is the one that its record describes.
func (d *Dir) check(ctx context.Context, id string, secret []byte) error {
	b, err := d.read(id, secret)
	if err != nil {
		return err
	}
	info, err := disk.Regular(b.Path)
	if err != nil {
		return err
	}
	added := time.Unix(0, b.modTime)
	executable := info.Mode()&0o100 != 0 || filepath.Ext(b.Path) == ".exe"
	if executable && info.Size() == b.Size && info.ModTime().Equal(added) && secret == nil {
		return nil
	}
	if !executable { // the permission was lost where the file was copied
		if err := os.Chmod(b.Path, 0o755); err != nil {
			return err
		}
	}
	digest, size, err := disk.DigestFile(ctx, b.Path)
	if err == nil && (digest != b.Digest || size != b.Size) {
		err = fmt.Errorf("%d bytes with digest %s, want %d with %s", size, digest, b.Size, b.Digest)
	}
	if err != nil {
		return err
	}
	_ = os.Chtimes(b.Path, added, added) // not in a directory that is read only
	return nil
}

// drop removes a damaged entry, unless another launcher has put a new one in its place.
func (d *Dir) drop(ctx context.Context, b Binary, secret []byte, why error) error {
	err := d.exclusive(ctx, func() error {
		if d.check(ctx, b.id, secret) == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		_, err := d.discard(b.id, true)
		return err
	})
	d.cfg.Logger.Warn("damaged binary", "path", b.Path, "cause", why, "not removed", err)
	if err != nil {
		return k6x.Errorf(k6x.Internal, "the kept binary %s is not what it was, and cannot be removed", b.Path).
			WithHint("Remove %s, or choose another directory with --bin-dir.", d.home(b.id)).WithCause(errors.Join(ErrDamaged, why, err))
	}
	return k6x.Errorf(k6x.Internal, "the kept binary %s is not what it was", b.Path).
		WithHint("It was removed; it will be fetched or built again.").WithCause(fmt.Errorf("%w: %w", ErrDamaged, why))
}
