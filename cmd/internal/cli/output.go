package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"k6x/internal/disk"

	"k6x"
)

// Output is a file that is being written: it comes to its name as a whole, or not at all.
type Output struct {
	*disk.Pending
	name string
}

// CreateOutput creates a file beside name, which a flag has given.
func CreateOutput(name, flag string) (*Output, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return nil, k6x.Errorf(k6x.Invalid, "%s is a directory", name).WithHint("Name another place with --%s.", flag)
	}
	file, err := disk.FS{}.Begin(disk.Atomic{Name: name, Mode: 0o755, Sync: true})
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
	n, err := o.Pending.Write(p)
	if err != nil {
		err = o.NotWritten(err)
	}
	return n, err
}

// Commit gives the file its name.
func (o *Output) Commit() error {
	if err := o.Pending.Commit(); err != nil {
		return o.NotWritten(err)
	}
	return nil
}

// NotWritten gives an error of writing words for the user.
func (o *Output) NotWritten(err error) error {
	return k6x.Errorf(k6x.Internal, "%s cannot be written: %w", o.name, err)
}
