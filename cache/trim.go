package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Size returns the bytes of all regular files below dir. A directory that does not exist
// has none.
func Size(dir string) (int64, error) {
	var total int64
	err := walkFiles(dir, func(_ string, info fs.FileInfo) error {
		total += info.Size()
		return nil
	})
	return total, err
}

// Trim bounds Go's build cache: if the files below dir take more than limit bytes, it
// removes the least recently modified ones until the rest takes at most 80% of it.
// It leaves directories and the files of the go command's own housekeeping alone.
// No build may run meanwhile; a later one makes again what it misses. A limit of 0
// means none. It returns the bytes freed, also with an error.
func Trim(ctx context.Context, dir string, limit int64) (freed int64, err error) {
	if limit <= 0 {
		return 0, nil
	}
	type file struct {
		name string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	err = walkFiles(dir, func(name string, info fs.FileInfo) error {
		total += info.Size()
		if !housekeeping(info.Name()) {
			files = append(files, file{name, info.Size(), info.ModTime()})
		}
		return ctx.Err()
	})
	if err != nil || total <= limit {
		return 0, err
	}
	slices.SortFunc(files, func(a, b file) int { return a.used.Compare(b.used) })
	for _, f := range files {
		if total-freed <= limit/5*4 {
			break
		}
		if err := ctx.Err(); err != nil {
			return freed, err
		}
		if err := os.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		freed += f.size
	}
	return freed, nil
}

func housekeeping(name string) bool {
	return name == "README" || name == "trim.txt" || name == "testexpire.txt"
}

// walkFiles calls visit for each regular file below dir, which may be a symbolic link itself.
// It passes over what vanishes meanwhile.
func walkFiles(dir string, visit func(name string, info fs.FileInfo) error) error {
	root, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				return visit(name, info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}
