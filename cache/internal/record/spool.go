package record

import (
	"context"
	"errors"
	"io"
	"os"

	"k6x"
	"k6x/internal/disk"
)

// Spooled is a binary in a temporary file, at its start, and what is known of it.
type Spooled struct {
	Received
	File *os.File

	unlinked bool
}

// Spool runs fill, as [Receive] does, into a temporary file below dir (as os.CreateTemp
// understands it). The caller closes what it gets.
func Spool(ctx context.Context, dir string, limit int64, fill Fill) (*Spooled, error) {
	file, err := os.CreateTemp(dir, "k6x-*")
	if err != nil {
		return nil, noSpool(err)
	}
	// Where an open file can lose its name, a killed process leaves nothing.
	s := &Spooled{File: file, unlinked: os.Remove(file.Name()) == nil}
	if s.Received, err = Receive(ctx, spoolWriter{file}, limit, fill); err != nil {
		s.Close()
		return nil, err // that of fill as it is
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		s.Close()
		return nil, noSpool(err)
	}
	return s, nil
}

// Close removes the file.
func (s *Spooled) Close() error {
	err := s.File.Close()
	if !s.unlinked {
		err = errors.Join(err, os.Remove(s.File.Name()))
	}
	return err
}

// spoolWriter gives errors of the disk words for the user.
type spoolWriter struct{ to io.Writer }

func (w spoolWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil {
		err = noSpool(err)
	}
	return n, err
}

func noSpool(err error) error {
	if err = disk.Explain(err); k6x.KindOf(err) == k6x.NoSpace {
		return err
	}
	return k6x.Errorf(k6x.Internal, "the binary could not be kept in a temporary file").WithCause(err)
}
