package cache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// removedInfix marks what RemoveAll has renamed: <name>.removed-<random>.
const removedInfix = ".removed-"

// RemoveAll removes the directory dir with all in it, also if directories in it are
// read-only, as those of a module cache are. It is renamed first, so that no process finds
// it half empty; what a killed process left so is removed by the next call for dir. A
// directory that does not exist is no error. Of a symbolic link only the link is removed.
func RemoveAll(dir string) error {
	parent, name := filepath.Dir(filepath.Clean(dir)), filepath.Base(filepath.Clean(dir))
	if name == "." || name == ".." || name == string(filepath.Separator) {
		return fmt.Errorf("%q is not a directory to remove", dir)
	}
	// A sibling: to move a read-only directory below another one is not allowed.
	aside := filepath.Join(parent, name+removedInfix+rand.Text())
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	siblings, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, sibling := range siblings {
		if strings.HasPrefix(sibling.Name(), name+removedInfix) {
			errs = append(errs, removeTree(filepath.Join(parent, sibling.Name())))
		}
	}
	return errors.Join(errs...)
}

func removeTree(root string) error {
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(name, 0o700) // before it is read, which WalkDir does next
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(root))
}
