package native

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// Bounds on what is read of go.mod files, which strangers write.
const (
	maxGoMod  = 16 << 20 // bytes, as the go command has it
	maxGraph  = 20_000   // module versions
	goModTail = ".mod"
)

// goMod is what choosing versions needs of a go.mod.
type goMod struct {
	path      string // that the module gives itself
	goVersion string // "" if it has no go line
	requires  []module.Version
}

// goMods reads go.mod files in the module cache, each once, as they never change.
type goMods struct {
	modCache string

	mu    sync.Mutex // guards files
	files map[module.Version]*goMod
}

// read returns the go.mod of m; nil if it is not there or makes no sense.
func (g *goMods) read(m module.Version) *goMod {
	g.mu.Lock()
	f, ok := g.files[m]
	g.mu.Unlock()
	if ok {
		return f
	}
	if f = readGoMod(g.modCache, m); f == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.files == nil || len(g.files) >= maxGraph {
		g.files = make(map[module.Version]*goMod)
	}
	g.files[m] = f
	return f
}

func (g *goMods) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files = nil
}

// downloaded returns where the module cache keeps what it knows of m, and its files.
func downloaded(modCache string, m module.Version, tail string) (file, dir string, err error) {
	path, err := module.EscapePath(m.Path)
	if err != nil {
		return "", "", err
	}
	version, err := module.EscapeVersion(m.Version)
	if err != nil {
		return "", "", err
	}
	path = filepath.FromSlash(path)
	return filepath.Join(modCache, "cache", "download", path, "@v", version+tail), filepath.Join(modCache, path+"@"+version), nil
}

func readGoMod(modCache string, m module.Version) *goMod {
	name, _, err := downloaded(modCache, m, goModTail)
	if err != nil {
		return nil
	}
	mod, err := parseGoMod(name)
	if err != nil {
		return nil
	}
	return mod
}

// parseGoMod reads a go.mod that belongs to no main module.
func parseGoMod(name string) (*goMod, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxGoMod+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxGoMod {
		return nil, fmt.Errorf("%s is too large", name)
	}
	f, err := modfile.ParseLax(filepath.Base(name), data, nil)
	if err != nil {
		return nil, err
	}
	mod := &goMod{requires: make([]module.Version, len(f.Require))}
	if f.Module != nil {
		mod.path = f.Module.Mod.Path
	}
	if f.Go != nil {
		mod.goVersion = f.Go.Version
	}
	for i, r := range f.Require {
		mod.requires[i] = r.Mod
	}
	return mod, nil
}
