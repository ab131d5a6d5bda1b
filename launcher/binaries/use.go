package binaries

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"k6x"
)

// trusted is for how long a file that looks the same is taken to be the same.
const trusted = 24 * time.Hour

// Use checks a binary that is about to be run, notes the time of its use, and keeps it from
// being removed until release is called or this process ends or becomes another (exec). A
// damaged one is removed: the error then is an [ErrDamaged]; if it is no longer there, an [ErrGone].
//
// Not all bytes are read each time. A file that has size, modification time, inode and ctime
// of when it was last read as a whole, at most a day ago, is taken to be right. That is
// enough against accidents, which is all that a check here can be against: whoever could write the
// file on purpose could write the record beside it as well. Writing to a file changes its ctime, which nothing
// can set back; what a disk loses by itself is found within a day.
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
	current, err := d.read(b.id, secret)
	var seen identity
	if err == nil {
		seen, err = d.check(ctx, current, secret)
	}
	switch {
	case ctx.Err() != nil:
		release()
		return nil, k6x.Errorf(k6x.Canceled, "interrupted").WithCause(ctx.Err())
	case err != nil:
		release()
		return nil, d.drop(ctx, b, seen, err)
	}
	now := d.cfg.Clock()
	if err := os.Chtimes(filepath.Join(d.home(b.id), recordName), now, now); err != nil {
		d.cfg.Logger.Debug("time of use cannot be kept", "path", b.Path, "error", err)
	}
	return release, nil
}

// Check is [Dir.Use] for those who do not run the binary now.
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
	lock := flock.New(name, flock.SetFlag(os.O_RDONLY)) // not made: it is part of the entry
	held, err := lock.TryRLock()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !held { // who has it alone is removing it
		return nil, errors.Join(gone(b), lock.Close())
	}
	if err != nil {
		return nil, errors.Join(fault(err), lock.Close())
	}
	// Between opening and locking it may have been moved away.
	ours, err := lock.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(name); err == nil && !os.SameFile(ours, there) {
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

// check compares a file with its record. If all of it had to be read, the record is renewed. It
// returns what the file looked like.
func (d *Dir) check(ctx context.Context, b Binary, secret []byte) (identity, error) {
	seen, err := identify(b.Path)
	if err != nil {
		return seen, err
	}
	age := d.cfg.Clock().Sub(b.record.Stamp.Checked)
	if seen == b.record.Stamp.identity && 0 <= age && age < trusted && seen.Size == b.Size {
		return seen, nil
	}
	if seen, err = makeExecutable(b.Path, seen); err != nil {
		return seen, err
	}
	digest, size, err := digestOf(ctx, b.Path)
	if err == nil && (digest != b.Digest || size != b.Size) {
		err = fmt.Errorf("%d bytes with digest %s, want %d with %s", size, digest, b.Size, b.Digest)
	}
	if err != nil {
		return seen, err
	}
	if after, err := identify(b.Path); err != nil || after != seen {
		return seen, errors.Join(errors.New("it changed while it was read"), err)
	}
	b.record.Stamp = stamp{seen, d.cfg.Clock().UTC()}
	if err := d.renew(b, secret); err != nil { // as in a directory that is read only
		d.cfg.Logger.Debug("record cannot be renewed", "path", b.Path, "error", err)
	}
	return seen, nil
}

// makeExecutable gives a file the permission back that it may have lost where it was copied.
func makeExecutable(name string, seen identity) (identity, error) {
	info, err := os.Lstat(name)
	if err != nil || info.Mode()&0o100 != 0 || filepath.Ext(name) == ".exe" {
		return seen, err
	}
	if err := os.Chmod(name, 0o755); err != nil {
		return seen, err
	}
	return identify(name)
}

// renew writes the record again. The caller holds the entry, so that it is still the one of these bytes.
func (d *Dir) renew(b Binary, secret []byte) error {
	data, err := b.record.encode(secret)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(d.home(b.id), "."+recordName+"-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), filepath.Join(d.home(b.id), recordName))
}

// drop removes a damaged entry, unless another launcher has put a new one in its place.
func (d *Dir) drop(ctx context.Context, b Binary, seen identity, why error) error {
	_, err := d.remove(ctx, b.id, true, func() bool {
		now, _ := identify(b.Path)
		return now == seen
	})
	d.cfg.Logger.Warn("damaged binary", "path", b.Path, "cause", why, "not removed", err)
	if err != nil {
		return k6x.Errorf(k6x.Internal, "the kept binary %s is not what it was, and cannot be removed", b.Path).
			WithHint("Remove %s, or choose another directory with --bin-dir.", d.home(b.id)).WithCause(errors.Join(ErrDamaged, why, err))
	}
	return damaged(b, why)
}

// digestOf reads a whole file.
func digestOf(ctx context.Context, name string) (digest string, size int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	hash := sha256.New()
	buf := make([]byte, 1<<20)
	for {
		n, err := file.Read(buf)
		hash.Write(buf[:n])
		size += int64(n)
		if err == io.EOF {
			return hex.EncodeToString(hash.Sum(nil)), size, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return "", size, err
		}
	}
}
