// Package warmcache gives tests what takes long to compile. It is compiled by whichever test process comes first, and kept in
// a directory that all of them share: the one that K6X_TEST_CACHE names, or else one below the user's cache directory. Each
// test gets a copy, so that none can spoil what another one starts from; but outputs in the go command's build cache (*-d) are links: a test may
// remove them, and never writes to them nor changes their mode.
package warmcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"k6x/cache"
)

// standard are the packages of the standard library that the modules in testdata/standin import.
var standard = []string{"fmt", "io", "os", "os/signal", "reflect", "runtime/debug", "sort", "strconv", "strings", "syscall"}

// CopyStandard makes dir a build cache of the go command that has what a stand-in for k6 needs of the standard library,
// compiled for this platform and for windows/amd64, which is the other platform of most tests.
func CopyStandard(dir string) error {
	return Copy(dir, "standard", "", func(shared string) error {
		for _, platform := range []string{runtime.GOOS + "/" + runtime.GOARCH, "windows/amd64"} {
			goos, goarch, _ := strings.Cut(platform, "/")
			cmd := exec.Command("go", append([]string{"build", "-trimpath"}, standard...)...)
			cmd.Env = append(os.Environ(), "GOCACHE="+shared, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("compiling the standard library for %s: %w\n%s", platform, err, out)
			}
		}
		return nil
	})
}

// Copy copies the shared directory called name, of this version and Go toolchain, to dir. If there is none, fill makes it:
// it gets the path of a directory that does not exist. One process does so, and the others wait. Other versions of it go.
func Copy(dir, name, version string, fill func(shared string) error) error {
	shared, release, err := ensure(name, version, fill)
	if err != nil {
		return err
	}
	return errors.Join(copyAll(dir, shared), release())
}

// Share makes to the directory from: a link where there can be one, else a copy. One that is there stays.
func Share(to, from string) error {
	if err := os.Symlink(from, to); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	return copyAll(to, from)
}

// copyAll copies the directory from to to. Outputs in the go command's build cache, whose names are their hashes, are links where
// there can be some: nothing writes to them again, and they are nearly all that there is to copy.
func copyAll(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		if entry.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) { // never written through, as it may be a link
			return err
		}
		if now := time.Now(); strings.HasSuffix(name, "-d") && os.Link(path, name) == nil {
			return os.Chtimes(name, now, now) // the go command removes what was not used for days
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(name, data, info.Mode().Perm()|0o666)
	})
}

// ensure returns the shared directory, which stays until release is called.
func ensure(name, version string, fill func(shared string) error) (shared string, release func() error, err error) {
	all, err := directory()
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(all, 0o755); err != nil {
		return "", nil, err
	}
	lock := flock.New(filepath.Join(all, name+".lock"))
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	shared = filepath.Join(all, name+"-"+version+runtime.Version())
	for {
		if err := lock.RLock(); err != nil { // it is not removed while it is used
			return "", nil, err
		}
		if _, err := os.Stat(shared); err == nil {
			return shared, lock.Close, nil
		}
		if err := lock.Unlock(); err != nil {
			return "", nil, err
		}
		if err := create(lock, filepath.Join(all, name), shared, fill); err != nil {
			return "", nil, err
		}
	}
}

// create makes the shared directory, unless another process just has. All that begins with name gives way to it.
func create(lock *flock.Flock, name, shared string, fill func(string) error) error {
	if err := lock.Lock(); err != nil {
		return err
	}
	defer lock.Unlock()
	if _, err := os.Stat(shared); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	others, err := filepath.Glob(name + "-*")
	if err != nil {
		return err
	}
	for _, other := range others {
		if err := cache.RemoveAll(other); err != nil {
			return err
		}
	}
	partial := name + "-partial"
	if err := fill(partial); err != nil {
		return errors.Join(err, cache.RemoveAll(partial))
	}
	return os.Rename(partial, shared)
}

func directory() (string, error) {
	if dir := os.Getenv("K6X_TEST_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("K6X_TEST_CACHE has to name a directory for what tests share: %w", err)
	}
	return filepath.Join(dir, "k6x-test"), nil
}
