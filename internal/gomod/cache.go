package gomod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x/internal/disk"
)

// Cache reads a module cache of the go command (https://go.dev/ref/mod#module-cache). The files of a module version never
// change, so each go.mod is read once.
type Cache struct {
	Dir string

	mu    sync.Mutex // guards files
	files map[module.Version]*File
}

// ErrNotExtracted: the files of a module are not in the cache, or not all of them.
var ErrNotExtracted = errors.New("its files are not in the module cache")

// GoMod returns the go.mod of a module version; nil if it is not there or makes no sense.
func (c *Cache) GoMod(m module.Version) *File {
	c.mu.Lock()
	f, ok := c.files[m]
	c.mu.Unlock()
	if ok {
		return f
	}
	name, err := c.download(m, ".mod")
	if err != nil {
		return nil
	}
	if f, err = Read(name); err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.files == nil || len(c.files) >= MaxGraph {
		c.files = make(map[module.Version]*File)
	}
	c.files[m] = f
	return f
}

// GoModText returns the go.mod of a module version as it is in its file.
func (c *Cache) GoModText(m module.Version) ([]byte, error) {
	name, err := c.download(m, ".mod")
	if err != nil {
		return nil, err
	}
	return disk.ReadFile(name, MaxFile)
}

// Forget has all files be read anew.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = nil
}

// Root returns the directory for the files of a module version, which may not be there.
func (c *Cache) Root(m module.Version) (string, error) {
	path, version, err := escape(m)
	return filepath.Join(c.Dir, path+"@"+version), err
}

// Extracted returns the directory with the files of a module version. The error is [ErrNotExtracted] unless all of them are there.
func (c *Cache) Extracted(m module.Version) (root string, err error) {
	if root, err = c.Root(m); err != nil {
		return "", err
	}
	partial, err := c.download(m, ".partial") // the go command's mark while it extracts a module
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(root); err != nil {
		return "", fmt.Errorf("%s: %w", m, ErrNotExtracted)
	}
	if _, err := os.Stat(partial); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is being extracted: %w", m, ErrNotExtracted)
	}
	return root, nil
}

// Sum returns the hash of a module's files that the go command has found; "" if it has not.
func (c *Cache) Sum(m module.Version) string {
	name, err := c.download(m, ".ziphash")
	if err != nil {
		return ""
	}
	sum, _ := os.ReadFile(name)
	return strings.TrimSpace(string(sum))
}

// download returns the name of a file that the go command has about a module version.
func (c *Cache) download(m module.Version, ext string) (string, error) {
	name, err := FileName(m, ext)
	return filepath.Join(c.Dir, "cache", "download", name), err
}

// FileName returns the name of a file about a module version in a directory that is a module proxy; ext is .mod or such.
func FileName(m module.Version, ext string) (string, error) {
	path, version, err := escape(m)
	return filepath.Join(path, "@v", version+ext), err
}

// escape returns path and version of a module as they stand in file names.
func escape(m module.Version) (path, version string, err error) {
	if path, err = module.EscapePath(m.Path); err != nil {
		return "", "", err
	}
	version, err = module.EscapeVersion(m.Version)
	return filepath.FromSlash(path), version, err
}
