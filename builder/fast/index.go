package fast

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

// Bounds on what is kept of one platform; a k6 has some 700 packages.
const (
	maxPackages  = 50_000
	maxSums      = 8 << 20   // bytes of go.sum; one k6 has some five hundred lines
	maxGoMods    = 8 << 20   // bytes of go.mod files; those of one k6 have 60 kB
	maxIndexFile = 256 << 20 // bytes
)

const indexExt = ".json" // of the file of an index

// indexFormat is the version of indexData and of what is linked of it.
const indexFormat = 4

// index is the package index of one platform, toolchain and set of code generation settings: enough to know, without asking the go
// command, which files a combination of the same packages is linked from.
type index struct {
	file string

	mu        sync.Mutex                     // guards what is below and the file
	forgotten bool                           // no longer saved, if a build still uses it
	adopted   [sha256.Size]byte              // what was adopted last of the shared build cache, by its hash
	parsed    map[module.Version]*gomod.File // of GoMods
	indexData
}

type indexData struct {
	// Proven: what was linked by this index was compared with what go build made, byte by byte.
	Proven   bool
	Info     map[string]string   // build info, as text, of a binary by the go version of its main module
	Std      map[string]archive  // of the packages of the standard library
	Packages map[string][]string // imports by packageKey, those of the standard library left out
	Archives map[string]archive  // by identity
	Sums     map[string]string   // go.sum's hash of a module by path@version
	GoSum    string
	Tags     tags

	// For machines that have compiled packages and nothing of their modules:
	GoMods map[string]string // go.mod, as text, of each module version that counted, by path@version
	Lacks  map[string]bool   // packages, by packageKey, that a module does not have although they might be there
	Shared bool              // some of it is the word of those who write to the shared build cache
}

// archive is a compiled package in the build cache.
type archive struct {
	File string // with slashes
	Size int64  // bytes
}

// digest returns the SHA-256 of the package, after which the go command names its file.
func (a archive) digest() string { return strings.TrimSuffix(path.Base(a.File), "-d") }

// use returns where the file is in the build cache. It makes sure that it is there as a whole,
// and that it is not trimmed as one that is not in use.
func (a archive) use(cache string) (string, error) {
	if !filepath.IsLocal(a.File) {
		return "", fmt.Errorf("%s is not in the build cache", a.File)
	}
	file := filepath.Join(cache, filepath.FromSlash(a.File))
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() != a.Size {
		return "", fmt.Errorf("%s is damaged", a.File)
	}
	if now := time.Now(); now.Sub(info.ModTime()) > time.Hour {
		return file, os.Chtimes(file, now, now)
	}
	return file, nil
}

// packageKey names a package of a module version.
func packageKey(path string, m module.Version) string { return path + " " + m.String() }

// identity names a compiled package: by itself and by all that it was compiled with.
func identity(key string, imports []string) string {
	slices.Sort(imports)
	return hashName(key + "\n" + strings.Join(imports, "\n"))
}

// hashName returns a name of fixed length for a text.
func hashName(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

// indexes are those of an engine, in memory and in files of dir, and what go build has refuted.
type indexes struct {
	dir string

	mu      sync.Mutex // guards what follows
	all     map[string]*index
	unsaved refuted // what could not be written
}

// of returns the index for recipes like this one.
func (x *indexes) of(recipe k6x.Recipe) *index {
	name := hashName(fmt.Sprintf("%d %d %s %s %q", indexFormat, gobuild.Layout, recipe.Toolchain, recipe.Platform, recipe.Env)) + indexExt
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.all == nil {
		x.all = make(map[string]*index)
	}
	if x.all[name] == nil {
		x.all[name] = openIndex(filepath.Join(x.dir, name))
	}
	return x.all[name]
}

// drop begins with an empty index in the place of one.
func (x *indexes) drop(old *index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(old)
}

// forget begins with empty indexes. What is refuted stays so.
func (x *indexes) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, i := range x.all {
		x.remove(i)
	}
	entries, _ := os.ReadDir(x.dir)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == indexExt {
			_ = os.Remove(filepath.Join(x.dir, entry.Name())) // what is left is checked before it is used
		}
	}
}

// remove removes an index. The caller holds x.mu.
func (x *indexes) remove(i *index) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forgotten = true
	delete(x.all, filepath.Base(i.file))
	_ = os.Remove(i.file) // what is left is checked before it is used
}

// openIndex reads an index. One that is not there, or damaged, is empty.
func openIndex(file string) *index {
	i := &index{file: file}
	data, err := disk.ReadFile(file, maxIndexFile)
	if err != nil || json.Unmarshal(data, &i.indexData) != nil || !i.complete() {
		i.indexData = newIndexData()
	}
	return i
}

// complete reports whether an index that was read has all parts.
func (i *indexData) complete() bool {
	return i.Info != nil && i.Std != nil && i.Packages != nil && i.Archives != nil && i.Sums != nil && i.GoMods != nil && i.Lacks != nil
}

// newIndexData returns that of an empty index.
func newIndexData() indexData {
	return indexData{Info: make(map[string]string), Std: make(map[string]archive), Packages: make(map[string][]string),
		Archives: make(map[string]archive), Sums: make(map[string]string), GoMods: make(map[string]string), Lacks: make(map[string]bool)}
}

// name is what the index is called among the refuted.
func (i *index) name() string { return "kit " + filepath.Base(i.file) }

func (i *index) isProven() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.Proven
}

// unknown returns those of modules, path@version, of which the index knows nothing. The caller holds i.mu.
func (i *index) unknown(modules iter.Seq[string]) []string {
	return slices.DeleteFunc(slices.Sorted(modules), func(m string) bool { return i.Sums[m] != "" })
}

// save writes the index to its file. The caller holds i.mu.
func (i *index) save() error {
	if i.forgotten {
		return nil
	}
	data, err := json.Marshal(i.indexData)
	if err != nil {
		return err
	}
	// One that is lost or torn costs a go build.
	return disk.FS{}.WriteAtomic(disk.Atomic{Name: i.file, Temp: filepath.Dir(i.file)}, data)
}

// add adds what was compiled for a program. An index that has grown too large begins anew.
func (i *indexData) add(compiled indexData) {
	goMods := 0
	for _, text := range i.GoMods {
		goMods += len(text)
	}
	if len(i.Packages) > maxPackages || len(i.Archives) > maxPackages || goMods > maxGoMods {
		*i = newIndexData()
	}
	maps.Copy(i.Info, compiled.Info)
	maps.Copy(i.Std, compiled.Std)
	maps.Copy(i.Packages, compiled.Packages)
	maps.Copy(i.Archives, compiled.Archives)
	maps.Copy(i.Sums, compiled.Sums)
	maps.Copy(i.GoMods, compiled.GoMods)
	maps.Copy(i.Lacks, compiled.Lacks)
	i.GoSum = gomod.JoinSums(i.GoSum, compiled.GoSum, maxSums)
	if compiled.Tags.Release != nil {
		i.Tags = compiled.Tags
	}
}
