// Package dir keeps blobs in a directory, which several processes may share:
//
//	<name>         a blob; each slash of its name is one of the path
//	.tmp/<random>  a blob on its way in
//	lock           held for a moment by each write that is to be the first
//
// Where another file system is mounted inside, a blob on its way in is beside its place, as __0x2e__tmp-<random>.
//
// A blob comes to its place by one rename, after its bytes are durable.
package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"k6x/cache/blob"
	"k6x/cache/blob/internal/names"
	"k6x/internal/disk"
)

const (
	lockName = "lock"
	tempName = ".tmp"
	beside   = "__0x2e__tmp-" // before the name of a file beside its place; [names.Escape] gives no such name, as it leaves a dot alone
	leftover = 24 * time.Hour // a file that is older is not on its way any more
)

// Bucket is a [blob.Bucket] in a directory.
type Bucket struct {
	blob.Plain
	dir  string      // absolute
	temp string      // where blobs on their way in are
	made bool        // temp is there, or nothing is to be written any more
	mode fs.FileMode // of directories
	perm fs.FileMode // of blobs
	fs   disk.FS
}

var _ blob.Bucket = (*Bucket)(nil)

// Open opens a directory, which the first Put makes if it does not exist, so that a look at a wrong one leaves nothing, and removes what killed processes left there long ago. The directory
// may be one that can only be read. Directories are made with mode; 0: 0777, of which the system takes away what it is told to.
func Open(dir string, mode fs.FileMode) (*Bucket, error) { return open(dir, mode, disk.FS{}) }

// In returns the bucket in a directory that is there, for one that keeps other files there too: blobs on their way in are below temp, which
// it sweeps, and it keeps other processes out while it writes, as no blob may be written only if there is none.
func In(dir, temp string, steps disk.FS) *Bucket {
	return &Bucket{dir: dir, temp: temp, made: true, mode: 0o755, perm: 0o644, fs: steps}
}

func open(dir string, mode fs.FileMode, steps disk.FS) (*Bucket, error) {
	if mode == 0 {
		mode = 0o777
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	temp := filepath.Join(dir, tempName)
	b := &Bucket{dir: dir, temp: temp, mode: mode, perm: 0o666, fs: steps}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	}
	disk.Sweep(temp, "", leftover)
	return b, nil
}

// file returns where a blob is.
func (b *Bucket) file(name string) (string, error) {
	if plain(name) {
		return b.dir + string(os.PathSeparator) + filepath.FromSlash(name), nil
	}
	local := filepath.FromSlash(names.Escape(name, special))
	first, _, _ := strings.Cut(filepath.Clean(local), string(os.PathSeparator))
	if !filepath.IsLocal(local) || first == "." || first == lockName || first == tempName {
		return "", fmt.Errorf("%.100q cannot be the name of a blob in a directory", name)
	}
	return filepath.Join(b.dir, local), nil
}

// plain reports whether a name is certainly that of a file as it is: a hit is of one.
func plain(name string) bool {
	last := byte('/')
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-':
		case (c == '/' || c == '.') && last != '/' && last != '.':
		default:
			return false
		}
		last = c
	}
	return last != '/' && last != '.' && name != lockName && !strings.HasPrefix(name, lockName+"/")
}

// special reports whether a rune cannot be in the name of a file as it is.
func special(runes []rune, i int) bool {
	r := runes[i]
	switch {
	case r < 32, names.AfterDots(runes, i):
		return true
	case r == '/':
		return i == len(runes)-1 || i > 0 && runes[i-1] == '/'
	}
	return os.PathSeparator == '\\' && strings.ContainsRune(`\<>:"|?*`, r)
}

// Open implements [blob.Bucket]. The body is an *os.File.
func (b *Bucket) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	path, err := b.file(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, blob.Info{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, blob.Info{}, err
	}
	status, err := file.Stat()
	if err == nil && status.IsDir() {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err == nil && offset != 0 {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, blob.Info{}, err
	}
	return file, infoOf(name, status), nil
}

// Stat implements [blob.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	path, err := b.file(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return blob.Info{}, err
	}
	status, err := os.Stat(path)
	if err != nil {
		return blob.Info{}, err
	}
	if status.IsDir() {
		return blob.Info{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return infoOf(name, status), nil
}

func infoOf(name string, status fs.FileInfo) blob.Info {
	etag := append(strconv.AppendInt(make([]byte, 0, 32), status.ModTime().UnixNano(), 16), '-')
	inode, changed := disk.State(status)
	return blob.Info{
		Name: name, Size: status.Size(), ModTime: status.ModTime(), State: blob.State{Inode: inode, Changed: changed},
		ETag: string(strconv.AppendInt(etag, status.Size(), 16)),
	}
}

// Put implements [blob.Bucket].
func (b *Bucket) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o blob.PutOptions) (blob.Info, error) {
	path, err := b.file(name)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return blob.Info{}, err
	}
	status, err := b.put(ctx, filepath.Join(b.temp, rand.Text()), path, body, size, o)
	if errors.Is(err, syscall.EXDEV) {
		status, err = b.put(ctx, filepath.Join(filepath.Dir(path), beside+rand.Text()), path, body, size, o)
	}
	if err != nil {
		return blob.Info{}, err
	}
	return infoOf(name, status), nil
}

// put writes a blob by way of the file temp.
func (b *Bucket) put(ctx context.Context, temp, path string, body io.ReaderAt, size int64, o blob.PutOptions) (fs.FileInfo, error) {
	d, err := b.draft(temp, b.perm)
	if err != nil {
		return nil, err
	}
	// 1. The bytes become durable below a name that is no blob's.
	n, err := io.Copy(struct{ io.Writer }{d}, io.NewSectionReader(body, 0, size))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = d.Sync()
	}
	var status fs.FileInfo // now, as another process may replace or delete the blob once it is there
	if err == nil {
		status, err = os.Stat(temp)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = d.commit(path, o.IfAbsent)
	}
	return status, errors.Join(err, d.Close())
}

func (d *Draft) commit(path string, first bool) error {
	b := d.bucket
	// 2. Its directory is there, and durable.
	if err := b.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	// 3. No other process becomes the first while this looks whether it is.
	if first {
		lock := flock.New(filepath.Join(b.dir, lockName))
		if err := lock.Lock(); err != nil {
			return fmt.Errorf("lock the directory of the bucket: %w", err)
		}
		defer lock.Close()
		if _, err := os.Lstat(path); err == nil {
			return &fs.PathError{Op: "put", Path: path, Err: fs.ErrExist}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// 4. The blob comes to be.
	if d.name != "" { // else an attempt came as far as this
		if err := d.File.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			return err
		}
		if err := b.fs.Rename(d.name, path); err != nil {
			return err
		}
		d.name = ""
	}
	return b.fs.SyncDir(filepath.Dir(path))
}

// mkdir makes a directory and those above it, durably.
func (b *Bucket) mkdir(dir string) error {
	err := b.fs.Mkdir(dir, b.mode)
	if errors.Is(err, fs.ErrNotExist) {
		if err := b.mkdir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = b.fs.Mkdir(dir, b.mode)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return b.fs.SyncDir(filepath.Dir(dir)) // also of one that exists: the process that made it may not have come to this yet
}

// Delete implements [blob.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	path, err := b.file(name)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements [blob.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(blob.Info{}, err)
			return
		}
		root := b.dir
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			one, err := b.file(prefix[:i+1] + "x")
			if err != nil {
				return // there are no such blobs
			}
			root = filepath.Dir(one)
		}
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went away
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil || path == b.dir {
				return err
			}
			name := names.Unescape(filepath.ToSlash(strings.TrimPrefix(path[len(b.dir):], string(os.PathSeparator))))
			if entry.IsDir() {
				if name == tempName || !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
					return fs.SkipDir
				}
				return nil
			}
			if name == lockName || !strings.HasPrefix(name, prefix) {
				return nil
			}
			status, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if strings.HasPrefix(entry.Name(), beside) {
				if time.Since(status.ModTime()) > leftover {
					os.Remove(path) // or the next one to list does
				}
				return nil
			}
			if !yield(infoOf(name, status), nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(blob.Info{}, err)
		}
	}
}

// Close implements [blob.Bucket].
func (b *Bucket) Close() error { return nil }
