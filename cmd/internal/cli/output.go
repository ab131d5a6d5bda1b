package cli

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k6x"
)

// Output is a file that is being written: it comes to its name as a whole, or not at all.
type Output struct {
	*os.File
	name string
}

// CreateOutput creates a file beside name, which a flag has given.
func CreateOutput(name, flag string) (*Output, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, k6x.Errorf(k6x.Invalid, "%s is a directory", name).WithHint("Name another place with --%s.", flag)
	}
	temp := filepath.Join(filepath.Dir(name), ".k6x-"+rand.Text())
	file, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o755)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, k6x.Errorf(k6x.Invalid, "there is no directory %s to write to", filepath.Dir(name))
	}
	o := &Output{file, name}
	if err != nil {
		return nil, o.NotWritten(err)
	}
	return o, nil
}

// Write is that of the file, with an error in words for the user.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.File.Write(p)
	if err != nil {
		err = o.NotWritten(err)
	}
	return n, err
}

// Commit gives the file its name.
func (o *Output) Commit() error {
	err := o.Sync()
	if err = errors.Join(err, o.Close()); err == nil {
		err = os.Rename(o.File.Name(), o.name)
	}
	if err != nil {
		return o.NotWritten(err)
	}
	return nil
}

// Discard removes the file unless it was given its name.
func (o *Output) Discard() {
	_ = o.Close() // for the second time after Commit
	_ = os.Remove(o.File.Name())
}

// NotWritten gives an error of writing words for the user.
func (o *Output) NotWritten(err error) error {
	return k6x.Errorf(k6x.Internal, "%s cannot be written: %w", o.name, err)
}
