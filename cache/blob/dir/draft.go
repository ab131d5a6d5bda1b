package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k6x/cache/blob"
	"k6x/internal/disk"
)

// Draft is a blob on its way in: a file that gets its name when all bytes are there.
type Draft struct {
	*disk.File // open for writing
	bucket     *Bucket
	name       string // of the file; "" once it is a blob
	mode       fs.FileMode
}

// Draft begins a blob whose bytes come bit by bit.
func (b *Bucket) Draft(mode fs.FileMode) (*Draft, error) {
	return b.draft(filepath.Join(b.temp, rand.Text()), mode)
}

func (b *Bucket) draft(name string, mode fs.FileMode) (*Draft, error) {
	file, err := b.fs.Create(name, mode)
	if errors.Is(err, fs.ErrNotExist) && !b.made {
		err = b.fs.Mkdir(filepath.Dir(name), b.mode)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.MkdirAll(filepath.Dir(name), b.mode)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		file, err = b.fs.Create(name, mode)
	}
	if err != nil {
		return nil, err
	}
	return &Draft{file, b, name, mode}, nil
}

// Adopt moves a file over that of the draft, as [disk.FS.Adopt] does.
func (d *Draft) Adopt(name string) error {
	file, err := d.bucket.fs.Adopt(name, d.name, d.mode)
	if err != nil {
		return err
	}
	d.File.Close() // of the empty file that was there
	d.File = file
	return nil
}

// Open opens the bytes that were written.
func (d *Draft) Open() (blob.Bytes, error) { return os.Open(d.name) }

// Commit gives a draft that was synced the name of a blob, in place of the one of that name if there is one. If it fails, the blob may
// be there, but not outlast a power cut.
func (d *Draft) Commit(ctx context.Context, name string) error {
	path, err := d.bucket.file(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	return d.commit(path, false)
}

// Close removes what has not become a blob.
func (d *Draft) Close() error {
	if d.name == "" {
		return nil
	}
	d.File.Close()
	return d.bucket.fs.RemoveAll(d.name)
}
