package binaries

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"k6x"
	"k6x/internal/disk"
)

// Add keeps the binary that fill writes, under the platform and versions of meta, and returns
// it. If such a binary is there already, fill is not called and the first one is returned; if another
// launcher is making it, that is waited for. Either all of it is kept or nothing. An error of fill is returned
// as it is.
//
// The binary is checked, and counts as used now.
func (d *Dir) Add(ctx context.Context, meta Meta, fill func(file *os.File) error) (Binary, error) {
	if err := meta.check(); err != nil {
		return Binary{}, err
	}
	secret, err := d.secret()
	if err != nil {
		return Binary{}, err
	}
	id := idOf(meta)
	lock, err := d.lock(ctx, d.key(id), d.cfg.Waiting)
	if err != nil {
		return Binary{}, err
	}
	defer lock.Close()
	if first, err := d.checked(ctx, id, secret); err == nil || ctx.Err() != nil {
		return first, err
	}
	work := d.work("tmp", id) // the lock is that of this directory; files in it were left by a launcher that was killed
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		return Binary{}, fault(err)
	}
	defer func() {
		if err := os.RemoveAll(work); err != nil {
			d.cfg.Logger.Warn("leftover cannot be removed", "name", work, "error", err)
		}
	}()
	r, err := d.receive(ctx, work, meta, fill)
	if err != nil {
		return Binary{}, err
	}
	data, err := r.encode(secret)
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(work, recordName), data, 0o644), os.WriteFile(filepath.Join(work, lockName), nil, 0o644))
	}
	if err != nil {
		return Binary{}, fault(err)
	}
	if err := d.exclusive(ctx, func() error { return d.place(ctx, work, id, r.Size) }); err != nil {
		return Binary{}, err
	}
	return d.checked(ctx, id, secret)
}

// checked returns the entry of id if it is undamaged.
func (d *Dir) checked(ctx context.Context, id string, secret []byte) (Binary, error) {
	b, err := d.read(id, secret)
	if err != nil {
		return Binary{}, fault(err)
	}
	return b, d.Check(ctx, b)
}

// key is the file whose lock a launcher holds while it makes the binary of id. There are 256
// for all ids, so that they need not be removed; ids that share one wait for each other.
func (d *Dir) key(id string) string { return d.work("keys", id[:2]) }

// receive runs fill into a new file below work, makes it durable, and reads it back.
func (d *Dir) receive(ctx context.Context, work string, meta Meta, fill func(*os.File) error) (record, error) {
	name := filepath.Join(work, meta.Platform.Executable())
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return record{}, fault(err)
	}
	defer file.Close()
	if err := fill(file); err != nil {
		if disk.IsFull(err) {
			err = fault(err)
		}
		return record{}, err
	}
	if err := errors.Join(file.Chmod(0o755), file.Sync(), file.Close()); err != nil {
		return record{}, fault(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return record{}, fault(err)
	}
	digest, size, err := disk.DigestFile(ctx, name)
	switch {
	case ctx.Err() != nil:
		return record{}, k6x.CanceledBy(ctx)
	case err != nil:
		return record{}, fault(err)
	case size == 0:
		return record{}, k6x.Errorf(k6x.Unavailable, "the binary from %s is empty", meta.Source)
	}
	return record{Meta: meta, Digest: digest, Size: size, Added: d.cfg.Clock().UTC(), Stamp: stamp{size, info.ModTime().UnixNano()}}, nil
}

// place moves an entry from work to its place and makes room for it. It is called under exclusive.
func (d *Dir) place(ctx context.Context, work, id string, size int64) error {
	d.sweep()
	// The new one is kept even if there is not enough room: it is about to be run.
	if done, _ := d.shrink(ctx, id, size, func(entry) bool { return false }); done.Removed > 0 {
		d.cfg.Logger.Info("binaries removed to make room", "binaries", done.Removed, "bytes", done.Bytes)
	}
	if _, err := d.discard(id, true); err != nil { // an entry that cannot be read or is damaged
		return err
	}
	return fault(os.Rename(work, d.home(id)))
}

// sweep removes the leftovers of killed launchers below tmp. The caller holds the lock of the directory.
func (d *Dir) sweep() {
	entries, _ := os.ReadDir(d.work("tmp")) // there is none if nothing was ever made here
	for _, entry := range entries {
		name := d.work("tmp", entry.Name())
		if homeSyntax.MatchString("k6-" + entry.Name()) { // else an entry that was discarded, as far as that went
			lock, err := disk.TryLock(d.key(entry.Name()), false, flock.SetPermissions(0o644))
			if err != nil || lock == nil { // the binary is being made, by the caller perhaps
				continue
			}
			defer lock.Close()
		}
		if err := os.RemoveAll(name); err != nil {
			d.cfg.Logger.Warn("leftover cannot be removed", "name", name, "error", err)
			continue
		}
		d.cfg.Logger.Info("leftover of a killed launcher removed", "name", name)
	}
}
