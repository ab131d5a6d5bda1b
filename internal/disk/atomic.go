package disk

import (
	"cmp"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Atomic says how a file comes to its name: as a whole or not at all, by way of a temporary file on the same file system.
type Atomic struct {
	Name     string      // directories above it are made when the file comes there
	Temp     string      // directory for the temporary file, made if it is missing; "": that of Name, which has to be there
	Mode     fs.FileMode // 0: 0644
	DirMode  fs.FileMode // of directories above Name; 0: 0755
	Sync     bool        // the bytes are durable before the file has its name, so that no loss of power leaves a torn one there
	IfAbsent bool        // a file that has the name already stays, which is no error
}

// Pending is a file that is being written, and has not come to its name yet.
type Pending struct {
	*os.File // the temporary file

	atomic Atomic
	fs     FS
}

// Begin creates the temporary file. Use Discard when done, also after Commit. Errors are as the operating system gives them, see [Explain].
func (f FS) Begin(a Atomic) (*Pending, error) {
	if err := f.before("create", a.Name); err != nil {
		return nil, err
	}
	temp := filepath.Join(cmp.Or(a.Temp, filepath.Dir(a.Name)), ".k6x-"+rand.Text())
	open := func() (*os.File, error) {
		return os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, cmp.Or(a.Mode, 0o644))
	}
	file, err := open()
	if errors.Is(err, fs.ErrNotExist) && a.Temp != "" {
		if err = os.MkdirAll(a.Temp, 0o755); err == nil {
			file, err = open()
		}
	}
	if err != nil {
		return nil, err
	}
	return &Pending{file, a, f}, nil
}

// Commit gives the file its name.
func (p *Pending) Commit() error {
	err := p.fs.before("write", p.atomic.Name)
	if err == nil && p.atomic.Sync {
		err = p.Sync()
	}
	if err = errors.Join(err, p.Close(), p.fs.before("rename", p.atomic.Name)); err != nil {
		return err
	}
	err = p.move()
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(p.atomic.Name), cmp.Or(p.atomic.DirMode, 0o755)); err == nil {
			err = p.move()
		}
	}
	return err
}

func (p *Pending) move() error {
	if p.atomic.IfAbsent {
		if err := os.Link(p.File.Name(), p.atomic.Name); err == nil || errors.Is(err, fs.ErrExist) {
			return nil
		} // else the file system may have no links; of two at once the later one stays then
		if _, err := os.Lstat(p.atomic.Name); err == nil {
			return nil
		}
	}
	return os.Rename(p.File.Name(), p.atomic.Name)
}

// Discard removes the temporary file.
func (p *Pending) Discard() {
	_ = p.Close()                // for the second time after Commit
	_ = os.Remove(p.File.Name()) // gone after Commit
}

// WriteAtomic writes a file that has data.
func (f FS) WriteAtomic(a Atomic, data []byte) error {
	file, err := f.Begin(a)
	if err != nil {
		return err
	}
	defer file.Discard()
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Commit()
}

// Sweep removes entries of a directory that killed processes have left there: those whose names begin with prefix and that were
// not written to for an age. What cannot be removed does no more harm than taking room.
func Sweep(dir, prefix string, age time.Duration) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := entry.Info()
		if name := entry.Name(); err == nil && strings.HasPrefix(name, prefix) && time.Since(info.ModTime()) > age {
			_ = os.RemoveAll(filepath.Join(dir, name))
		}
	}
}
