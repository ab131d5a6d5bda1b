package fast

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// refuted are the indexes and modules that are left to go build, as it refused or made in another way what was made of them here. Each is a
// file in a directory of its own beside the indexes: whatever else processes write there, none undoes what another has found, and all see it.
type refuted map[string]bool // by file name

// maxRefuted bounds them: with more of them, all is left to go build.
const maxRefuted = 500

// has reports whether an index, by its name, or a module, path@version, is refuted.
func (r refuted) has(name string) bool { return len(r) > 0 && r[hashName(name)] }

func (x *indexes) refutedDir() string { return filepath.Join(x.dir, "refuted") }

// readRefuted returns what is refuted now.
func (x *indexes) readRefuted() (refuted, error) {
	entries, err := os.ReadDir(x.refutedDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > maxRefuted {
		return nil, fmt.Errorf("too much is refuted in %s", x.refutedDir())
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	r := maps.Clone(x.unsaved)
	if r == nil {
		r = make(refuted, len(entries))
	}
	for _, entry := range entries {
		r[entry.Name()] = true
	}
	return r, nil
}

// refute leaves indexes or modules to go build from now on, on all platforms. It returns the files that have to be removed to try again.
func (x *indexes) refute(names ...string) (files []string, err error) {
	err = os.MkdirAll(x.refutedDir(), 0o755)
	for _, name := range names {
		file := filepath.Join(x.refutedDir(), hashName(name))
		if failed := os.WriteFile(file, []byte(name+"\n"), 0o644); failed != nil {
			err = errors.Join(err, failed)
			x.mu.Lock()
			if x.unsaved == nil {
				x.unsaved = make(refuted)
			}
			x.unsaved[hashName(name)] = true
			x.mu.Unlock()
		}
		files = append(files, file)
	}
	return files, err
}
