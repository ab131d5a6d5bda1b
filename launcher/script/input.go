package script

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"k6x"
	"k6x/internal/disk"
)

// script reads the script or archive, and returns the directory from which package.json is looked for.
func (a *analysis) script(ctx context.Context, in Input) (dir string, err error) {
	if in.Path == "-" {
		return a.dir, a.stdin(ctx, in.Stdin)
	}
	path := in.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.dir, path)
	}
	info, err := os.Stat(path)
	if err != nil && strings.Contains(in.Path, "://") {
		id := folder{a}.resolve(filepath.Join(a.dir, "-"), in.Path)
		if isRemote(id) {
			return a.dir, a.remoteScript(ctx, id)
		}
		if id != "" {
			path = id
			info, err = os.Stat(path)
		}
	}
	switch {
	case isMissing(err):
		return "", k6x.Errorf(k6x.NotFound, "the script %s is not there", a.show(path)).
			WithHint("Give the path of a script or of an archive, or - to read it from stdin.").WithCause(err)
	case err != nil:
		return "", k6x.Errorf(k6x.Invalid, "the script %s cannot be read: %v", a.show(path), reason(err)).WithCause(err)
	case info.IsDir():
		return "", k6x.Errorf(k6x.Invalid, "the script %s is a directory", a.show(path)).
			WithHint("Give the path of a script or of an archive.")
	case !info.Mode().IsRegular():
		// A pipe that is read here is empty for k6.
		a.note("%s: it was not looked into: it is not a regular file", a.show(path))
		return filepath.Dir(path), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", k6x.Errorf(k6x.Invalid, "the script %s cannot be read: %v", a.show(path), reason(err)).WithCause(err)
	}
	defer f.Close()
	return filepath.Dir(path), a.main(ctx, path, f, info.Size())
}

// reason returns err without the path, which the message has already.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// stdin reads a script or archive from r, and keeps it for k6.
func (a *analysis) stdin(ctx context.Context, r io.Reader) error {
	if r == nil {
		r = strings.NewReader("")
	}
	data, err := disk.ReadAll(r, a.limits.stdin)
	if e, ok := errors.AsType[*disk.TooLargeError](err); ok {
		return k6x.Errorf(k6x.Invalid, "the script on stdin is larger than %s", humanize.IBytes(uint64(e.Limit))).
			WithHint("Write it to a file and give its path.")
	}
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the script on stdin cannot be read: %v", err).WithCause(err)
	}
	a.report.Stdin = data
	return a.main(ctx, filepath.Join(a.dir, "-"), bytes.NewReader(data), int64(len(data)))
}

// main reads the script or archive of size bytes that r has.
func (a *analysis) main(ctx context.Context, path string, r io.ReaderAt, size int64) error {
	// As in k6, a file that reads as a tar file is an archive.
	if _, err := tar.NewReader(io.NewSectionReader(r, 0, size)).Next(); err == nil {
		return a.archive(ctx, a.show(path), r, size)
	}
	text, err := disk.ReadAll(io.NewSectionReader(r, 0, size), a.limits.file)
	large, ok := tooLarge(err)
	switch {
	case ok && isRemote(path):
		a.unfetched(module{id: path}, err)
		return nil
	case ok:
		a.note("%s: it was not looked into: %s", a.show(path), large)
		return nil
	}
	if err != nil {
		return k6x.Errorf(k6x.Invalid, "the script %s cannot be read: %v", a.show(path), reason(err)).WithCause(err)
	}
	return a.walk(ctx, folder{a}, module{id: path, text: text})
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
