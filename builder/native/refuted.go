package native

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// refuted are the kits and modules that are left to go build, as it refused or made in another way what was made of them here. Each is a
// file in a directory of its own beside the kits: whatever else processes write there, none undoes what another has found, and all see it.
type refuted map[string]bool // by file name

// maxRefuted bounds them: with more of them, all is left to go build.
const maxRefuted = 500

// refutedFile returns the name of the file for a kit or a module, path@version.
func refutedFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

func (r refuted) has(name string) bool { return len(r) > 0 && r[refutedFile(name)] }

func (k *kits) refutedDir() string { return filepath.Join(k.dir, "refuted") }

// readRefuted returns what is refuted now.
func (k *kits) readRefuted() (refuted, error) {
	entries, err := os.ReadDir(k.refutedDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > maxRefuted {
		return nil, fmt.Errorf("too much is refuted in %s", k.refutedDir())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := maps.Clone(k.unsaved)
	if r == nil {
		r = make(refuted, len(entries))
	}
	for _, entry := range entries {
		r[entry.Name()] = true
	}
	return r, nil
}

// refute leaves kits or modules to go build from now on, on all platforms. It returns the files that have to be removed to try again.
func (k *kits) refute(names ...string) (files []string, err error) {
	err = os.MkdirAll(k.refutedDir(), 0o755)
	for _, name := range names {
		file := filepath.Join(k.refutedDir(), refutedFile(name))
		if failed := os.WriteFile(file, []byte(name+"\n"), 0o644); failed != nil {
			err = errors.Join(err, failed)
			k.mu.Lock()
			if k.unsaved == nil {
				k.unsaved = make(refuted)
			}
			k.unsaved[refutedFile(name)] = true
			k.mu.Unlock()
		}
		files = append(files, file)
	}
	return files, err
}
