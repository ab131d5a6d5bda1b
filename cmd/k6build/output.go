package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k6x"
)

// output is a file in the making: it comes to its name as a whole, or not at all.
type output struct {
	*os.File
	name string
}

// createOutput makes a file beside name.
func createOutput(name string) (*output, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, k6x.Errorf(k6x.Invalid, "%s is a directory", name).WithHint("Name a file with --output.")
	}
	temp := filepath.Join(filepath.Dir(name), ".k6build-"+rand.Text())
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, k6x.Errorf(k6x.Invalid, "there is no directory %s to write to", filepath.Dir(name))
	}
	if err != nil {
		return nil, notWritten(name, err)
	}
	return &output{file, name}, nil
}

// commit gives the file its name.
func (o *output) commit() error {
	err := o.Sync()
	if err = errors.Join(err, o.Close()); err == nil {
		err = os.Rename(o.File.Name(), o.name)
	}
	if err != nil {
		return notWritten(o.name, err)
	}
	return nil
}

// discard removes the file unless it was given its name.
func (o *output) discard() {
	_ = o.Close() // for the second time after commit
	_ = os.Remove(o.File.Name())
}

func notWritten(name string, err error) error {
	return k6x.Errorf(k6x.Internal, "%s cannot be written: %w", name, err)
}
