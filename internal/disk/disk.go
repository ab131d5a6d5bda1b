// Package disk has what packages with files of their own do alike: writes that are whole and durable, of which each step
// can be made to fail by a test ([FS]), files that come to their name as a whole ([Atomic]), locks of files that other
// processes see ([Lock]), and reads that are bounded ([ReadFile], [ReadAll]).
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"k6x"
)

// FS writes to the file system of the operating system. The zero value is ready.
type FS struct {
	// Fault, if not nil, is called before each step with the name of the step and the
	// file; the step fails with the error that it returns. It is for tests.
	Fault func(step, name string) error

	Of string // the files, as its operator knows them, for errors: "the store"; "": errors do not say
}

func (f FS) before(step, name string) error {
	if f.Fault == nil {
		return nil
	}
	return f.Fault(step, name)
}

// Explain is that of an FS which does not say what its files are.
func Explain(err error) error { return FS{}.Explain(err) }

// Explain returns err, or, if it says that a disk or a quota is full, an error of kind
// NoSpace; if it says that a file system is read-only, one of kind Unavailable. The path is in the cause alone, as clients read the words.
func (f FS) Explain(err error) error {
	readOnly := errors.Is(err, syscall.EROFS)
	if err == nil || !readOnly && !IsFull(err) {
		return err
	}
	if _, done := errors.AsType[*k6x.Error](err); done {
		return err
	}
	which := "the disk"
	if f.Of != "" {
		which += " of " + f.Of
	}
	if readOnly {
		return k6x.Errorf(k6x.Unavailable, "nothing can be written to %s: it is read-only", which).
			WithHint("Its operator has to mount it for writing.").WithRetry(time.Minute).WithCause(err)
	}
	return k6x.Errorf(k6x.NoSpace, "there is no room left on %s", which).WithHint("Free some space there, then try again.").WithCause(err)
}

// Mkdir creates a directory, which must not exist.
func (f FS) Mkdir(name string, mode fs.FileMode) error {
	if err := f.before("mkdir", name); err != nil {
		return f.Explain(err)
	}
	return f.Explain(os.Mkdir(name, mode))
}

// Rename moves a file over another one, or a directory to where nothing is.
func (f FS) Rename(from, to string) error {
	if err := f.before("rename", to); err != nil {
		return f.Explain(err)
	}
	return f.Explain(os.Rename(from, to))
}

// RemoveAll removes a file or a tree.
func (f FS) RemoveAll(name string) error {
	if err := f.before("remove", name); err != nil {
		return err
	}
	return os.RemoveAll(name)
}

// Touch sets the time of the last modification.
func (f FS) Touch(name string, to time.Time) error {
	if err := f.before("touch", name); err != nil {
		return f.Explain(err)
	}
	return f.Explain(os.Chtimes(name, to, to))
}

// SyncDir makes the entries of a directory durable, where the operating system can.
func (f FS) SyncDir(name string) error {
	if err := f.before("syncdir", name); err != nil {
		return f.Explain(err)
	}
	return f.Explain(syncDir(name))
}

// Create creates a file, which must not exist.
func (f FS) Create(name string, mode fs.FileMode) (*File, error) {
	if err := f.before("create", name); err != nil {
		return nil, f.Explain(err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, f.Explain(err)
	}
	return &File{file: file, fs: f}, nil
}

// Adopt moves a file from elsewhere over a file. It returns an [errors.ErrUnsupported], and leaves both as they were, if
// the file is on another file system or cannot be moved for another reason. What is no regular file of one name by then is refused: what
// is done to it would be done to another file.
func (f FS) Adopt(from, to string, mode fs.FileMode) (*File, error) {
	if err := f.before("adopt", to); err != nil {
		return nil, f.Explain(err)
	}
	if err := os.Rename(from, to); err != nil {
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	info, err := os.Lstat(to) // where no other process puts anything
	if err == nil && !IsOnly(info) {
		err = fmt.Errorf("%s is no regular file, or has another name", from)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(to, mode); err != nil {
		return nil, f.Explain(err)
	}
	file, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return nil, f.Explain(err)
	}
	return &File{file: file, fs: f}, nil
}

// File is a file that is being written.
type File struct {
	file *os.File
	fs   FS
}

// Write writes p.
func (f *File) Write(p []byte) (int, error) {
	if err := f.fs.before("write", f.file.Name()); err != nil {
		return 0, f.fs.Explain(err)
	}
	n, err := f.file.Write(p)
	return n, f.fs.Explain(err)
}

// Sync makes what was written durable.
func (f *File) Sync() error {
	if err := f.fs.before("sync", f.file.Name()); err != nil {
		return f.fs.Explain(err)
	}
	return f.fs.Explain(f.file.Sync())
}

// Close closes the file.
func (f *File) Close() error { return f.fs.Explain(f.file.Close()) }
