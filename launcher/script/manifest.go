package script

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"k6x/internal/disk"

	"k6x"
)

const maxManifest = 1 << 20 // bytes in a package.json

// manifest takes in the dependencies of the nearest package.json at or above dir: k6, k6/x/NAME,
// and of the other names, which are those of npm, only those that some other source asks for.
func (a *analysis) manifest(dir string) error {
	for {
		path := filepath.Join(dir, "package.json")
		data, err := disk.ReadFile(path, maxManifest)
		if err == nil {
			return a.manifestFile(path, data)
		}
		// A package.json that is no readable file is ignored.
		if large, ok := tooLarge(err); ok {
			a.note("%s: %s", path, large)
			return nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
	}
}

func (a *analysis) manifestFile(path string, data []byte) error {
	where := a.show(path)
	var manifest struct {
		Dependencies map[string]json.RawMessage `json:"dependencies"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte(bom)), &manifest); err != nil {
		return k6x.Errorf(k6x.Invalid, "%s: it cannot be read as JSON: %v", where, err).
			WithHint("Mend the file; its dependencies may say which k6 and which extensions are needed.")
	}
	for _, name := range slices.Sorted(maps.Keys(manifest.Dependencies)) {
		if name != k6x.K6 && !strings.HasPrefix(name, extension) && !a.named[name] {
			continue
		}
		var text string
		if err := json.Unmarshal(manifest.Dependencies[name], &text); err != nil {
			return k6x.Errorf(k6x.Invalid, "%s: the constraint of %s is not a string", where, name)
		}
		if err := a.declared(name, text, where); err != nil {
			return err
		}
	}
	return nil
}

// declared takes in a dependency that is written as a pair of strings.
func (a *analysis) declared(name, text, where string) error {
	// The package k6 of npm is a placeholder for editors, which has this version only.
	if name == k6x.K6 && strings.Trim(text, "^~=v ") == "0.0.0" {
		return nil
	}
	dep, err := k6x.NewDependency(name, text)
	if err != nil {
		return at(where, err)
	}
	a.mention(dep, where)
	return nil
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
