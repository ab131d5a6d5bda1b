package native

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"

	"k6x"
)

// Bounds on what is kept of one platform; a k6 has some 700 packages.
const (
	maxKitPackages = 50_000
	maxKitFile     = 256 << 20 // bytes
)

// kit is what go builds for one platform, toolchain and set of code generation settings
// have compiled: enough to know, without asking the go command, which files a combination of the same
// packages is linked from.
type kit struct {
	file string

	mu sync.Mutex // guards what is below and the file
	kitData
}

type kitData struct {
	// Proven: what was assembled of this kit was compared with what go build made, byte by byte.
	Proven   bool
	Info     string              // build info of a binary, as text: its settings are those of all
	Godebug  map[string]string   // DefaultGODEBUG by the go version of the main module
	Std      map[string]string   // file of each package of the standard library
	Packages map[string][]string // imports by packageKey, those of the standard library left out
	Archives map[string]string   // file by identity
	Sums     map[string]string   // go.sum's hash of a module by path@version
	GoSum    string
}

// packageKey names a package of a module version.
func packageKey(path string, m module.Version) string { return path + " " + m.String() }

// identity names a compiled package: by itself and by all that it was compiled with.
func identity(key string, imports []string) string {
	slices.Sort(imports)
	sum := sha256.Sum256([]byte(key + "\n" + strings.Join(imports, "\n")))
	return hex.EncodeToString(sum[:16])
}

// kits are the kits of an engine, in memory and in files of dir.
type kits struct {
	dir string

	mu  sync.Mutex // guards all
	all map[string]*kit
}

// of returns the kit for recipes like this one.
func (k *kits) of(recipe k6x.Recipe) *kit {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s %q", layout, recipe.Toolchain, recipe.Platform, recipe.Env))
	name := hex.EncodeToString(sum[:16]) + ".json"
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = make(map[string]*kit)
	}
	if k.all[name] == nil {
		k.all[name] = openKit(filepath.Join(k.dir, name))
	}
	return k.all[name]
}

// forget begins with empty kits.
func (k *kits) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = nil
	_ = os.RemoveAll(k.dir) // what is left is checked before it is used
}

// openKit reads a kit. One that is not there, or damaged, is empty.
func openKit(file string) *kit {
	k := &kit{file: file}
	if info, err := os.Stat(file); err == nil && info.Size() <= maxKitFile {
		if data, err := os.ReadFile(file); err != nil || json.Unmarshal(data, &k.kitData) != nil {
			k.kitData = kitData{}
		}
	}
	k.makeMaps()
	return k
}

func (k *kit) makeMaps() {
	if k.Packages == nil || len(k.Packages) > maxKitPackages || len(k.Archives) > maxKitPackages {
		k.kitData = kitData{
			Proven: k.Proven, Info: k.Info,
			Godebug: make(map[string]string), Std: make(map[string]string), Packages: make(map[string][]string),
			Archives: make(map[string]string), Sums: make(map[string]string),
		}
	}
}

// save writes the kit to its file. The caller holds k.mu.
func (k *kit) save() error {
	data, err := json.Marshal(k.kitData)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(k.file), 0o755); err != nil {
		return err
	}
	// One that is lost or torn costs a go build.
	temp, err := os.CreateTemp(filepath.Dir(k.file), "kit-")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), k.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}

// add puts into the kit what go list says about a program.
func (k *kit) add(list *listing, goSum string) error {
	k.makeMaps()
	k.Godebug[list.goVersion] = list.godebug
	maps.Copy(k.Std, list.std)
	ids := make(map[string]string, len(list.packages))
	for _, p := range list.packages { // each comes after its imports
		var imports, imported []string
		for _, path := range p.imports {
			if _, ok := list.std[path]; ok || path == "unsafe" || path == "C" {
				continue
			}
			id, ok := ids[path]
			if !ok {
				return fmt.Errorf("%s imports %s, which was not listed", p.path, path)
			}
			imports, imported = append(imports, path), append(imported, id)
		}
		key := packageKey(p.path, p.module)
		id := identity(key, imported)
		ids[p.path] = id
		k.Packages[key] = imports
		k.Archives[id] = p.archive
		k.Sums[p.module.String()] = p.sum
	}
	lines := sums{}
	lines.learn(k.GoSum)
	lines.learn(goSum)
	k.GoSum = lines.known()
	return nil
}
