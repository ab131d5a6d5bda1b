package buildcache

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Names of what goes along with a build cache in an exported file: beside/NAME/path.
const (
	besideDir     = "beside"
	maxBesideName = 1000 // bytes
)

// addDir adds the files in dir, which need not be there, to an archive.
func addDir(ctx context.Context, archive *tar.Writer, name, dir string) error {
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		switch ext := path.Ext(entry.Name()); {
		case entry.IsDir() && rel == "tmp":
			return filepath.SkipDir
		case !entry.Type().IsRegular(), ext == ".lock", ext == ".partial", ext == ".tmp": // there only while a process writes
			return nil
		}
		err = addFile(archive, path.Join(besideDir, name, filepath.ToSlash(rel)), file)
		if errors.Is(err, fs.ErrNotExist) { // it is gone meanwhile
			return nil
		}
		return err
	})
}

// importBeside writes a file of an archive to where it belongs, unless there is one. One whose name leads elsewhere
// is refused; one of a directory that is not in beside is passed over.
func importBeside(beside map[string]string, h *tar.Header, body *source) error {
	_, rest, _ := strings.Cut(h.Name, "/")
	name, rel, ok := strings.Cut(rest, "/")
	if !ok || len(h.Name) > maxBesideName || h.Typeflag != tar.TypeReg || h.Size < 0 || path.Clean(rel) != rel || !filepath.IsLocal(filepath.FromSlash(rel)) {
		return fmt.Errorf("%.100q in a build cache", h.Name)
	}
	dir, ok := beside[name]
	if !ok {
		return nil
	}
	// Whatever is there already, links among it, does not lead out of the directory.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errLocal, err)
	}
	defer root.Close()
	local := filepath.FromSlash(rel)
	if _, err := root.Lstat(local); err == nil {
		return nil
	}
	temp := local + "-" + rand.Text() + ".tmp"
	err = root.MkdirAll(filepath.Dir(local), 0o755)
	if err == nil {
		err = writeNew(root, temp, h.Size, body)
	}
	if err == nil {
		err = root.Rename(temp, local)
	}
	if err == nil {
		return nil
	}
	_ = root.Remove(temp)
	if body.err != nil {
		return body.err
	}
	return fmt.Errorf("%w: %w", errLocal, err)
}

func writeNew(root *os.Root, name string, size int64, body io.Reader) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.CopyN(file, body, size)
	return errors.Join(err, file.Close())
}
