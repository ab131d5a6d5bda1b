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
	"sync/atomic"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
)

// Bounds on what is kept of one platform; a k6 has some 700 packages.
const (
	maxKitPackages = 50_000
	maxKitFile     = 256 << 20 // bytes
)

const kitExt = ".json" // of the file of a kit

// kitFormat is the version of kitData and of what is linked of it.
const kitFormat = 3

// kit is what go builds for one platform, toolchain and set of code generation settings
// have compiled: enough to know, without asking the go command, which files a combination of the same
// packages is linked from.
type kit struct {
	file string

	mu        sync.Mutex // guards what is below and the file
	forgotten bool       // no longer saved, if a build still uses it
	kitData
}

type kitData struct {
	// Proven: what was assembled of this kit was compared with what go build made, byte by byte.
	Proven   bool
	Info     map[string]string   // build info, as text, of a binary by the go version of its main module
	Std      map[string]archive  // of the packages of the standard library
	Packages map[string][]string // imports by packageKey, those of the standard library left out
	Archives map[string]archive  // by identity
	Sums     map[string]string   // go.sum's hash of a module by path@version
	GoSum    string
	Tags     tags
}

// archive is a compiled package in the build cache.
type archive struct {
	File string
	Size int64 // bytes
}

// packageKey names a package of a module version.
func packageKey(path string, m module.Version) string { return path + " " + m.String() }

// identity names a compiled package: by itself and by all that it was compiled with.
func identity(key string, imports []string) string {
	slices.Sort(imports)
	sum := sha256.Sum256([]byte(key + "\n" + strings.Join(imports, "\n")))
	return hex.EncodeToString(sum[:16])
}

// kits are the kits of an engine, in memory and in files of dir, and what go build has refuted.
type kits struct {
	dir   string
	wrong atomic.Int64 // binaries that were answered and then refuted

	mu      sync.Mutex // guards what follows
	all     map[string]*kit
	unsaved refuted // what could not be written
}

// of returns the kit for recipes like this one.
func (k *kits) of(recipe k6x.Recipe) *kit {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %s %s %q", kitFormat, gobuild.Layout, recipe.Toolchain, recipe.Platform, recipe.Env))
	name := hex.EncodeToString(sum[:16]) + kitExt
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

// drop begins with an empty kit in the place of one.
func (k *kits) drop(old *kit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old.mu.Lock()
	old.forgotten = true
	old.mu.Unlock()
	delete(k.all, filepath.Base(old.file))
	_ = os.Remove(old.file) // what is left is checked before it is used
}

// forget begins with empty kits. What is refuted stays so.
func (k *kits) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kit := range k.all {
		kit.mu.Lock()
		kit.forgotten = true
		kit.mu.Unlock()
	}
	k.all = nil
	entries, _ := os.ReadDir(k.dir)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == kitExt {
			_ = os.Remove(filepath.Join(k.dir, entry.Name())) // what is left is checked before it is used
		}
	}
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

// makeMaps empties a kit that has grown too large, and one whose file lacked something.
func (k *kit) makeMaps() {
	if k.Info == nil || k.Std == nil || k.Packages == nil || k.Archives == nil || k.Sums == nil ||
		len(k.Packages) > maxKitPackages || len(k.Archives) > maxKitPackages {
		k.kitData = kitData{
			Tags: k.Tags, Info: make(map[string]string), Std: make(map[string]archive), Packages: make(map[string][]string),
			Archives: make(map[string]archive), Sums: make(map[string]string),
		}
	}
}

// name is what the kit is called among the refuted.
func (k *kit) name() string { return "kit " + filepath.Base(k.file) }

func (k *kit) isProven() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Proven
}

// unknown returns those of modules, path@version, of which the kit knows nothing. The caller holds k.mu.
func (k *kit) unknown(modules map[string]bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(modules)), func(m string) bool { return k.Sums[m] != "" })
}

// save writes the kit to its file. The caller holds k.mu.
func (k *kit) save() error {
	if k.forgotten {
		return nil
	}
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

// add puts into the kit what go list, the build info and the go.sum say about a program.
func (k *kit) add(list *listing, info, goSum string) error {
	k.makeMaps()
	k.Info[list.goVersion] = info
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
