package bucket

import (
	"context"
	"errors"
	"io"
	"os"

	"k6x/cache/blob"
	"k6x/internal/disk"
)

// spool is a [Draft] that waits to be sent: a temporary file without a name, so that nothing is left of a process that is killed.
type spool struct {
	file *os.File
	name string // that it still has, as on Windows; ""
}

var spools = disk.FS{Of: "temporary files"}

func newSpool() (Draft, error) {
	file, err := os.CreateTemp("", "k6x-")
	if err != nil {
		return nil, spools.Explain(err)
	}
	s := spool{file: file}
	if os.Remove(file.Name()) != nil {
		s.name = file.Name()
	}
	return s, nil
}

func (s spool) Write(p []byte) (int, error) {
	n, err := s.file.Write(p)
	return n, spools.Explain(err)
}

func (spool) Sync() error { return nil }

func (s spool) Open() (blob.Bytes, error) {
	return spoolBytes{io.NewSectionReader(s.file, 0, maxBinary)}, nil
}

func (spool) Commit(context.Context, string) error { return errors.ErrUnsupported }

func (s spool) Close() error {
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	return err
}

type spoolBytes struct{ *io.SectionReader }

func (spoolBytes) Close() error { return nil }
