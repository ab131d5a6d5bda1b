package native

import (
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/builder/internal/workdir"
)

// workspace is the directory of one build: the main module, temporary files and the binary.
type workspace struct {
	dir    string
	recipe k6x.Recipe
	locked bool // go.mod and go.sum are those of an earlier build

	// unconfirmed: packages were compiled for it that the go command has not compiled yet.
	unconfirmed bool
	suspects    []string // as those of the plan
	place       bool     // there is one to learn from it later

	cache CacheSession

	progress *progress    // nil: nobody watches
	replaced replacements // nil: no module is replaced
}

func (ws *workspace) temp() string   { return filepath.Join(ws.dir, "tmp") }
func (ws *workspace) output() string { return filepath.Join(ws.dir, gobuild.OutputName) }

// newWorkspace writes the main module of a recipe into a new directory below parent, with the
// lock or, if there is none, with the go.sum lines that are known.
func newWorkspace(parent string, recipe k6x.Recipe, lock *k6x.Lock, known string) (ws *workspace, err error) {
	files, err := gobuild.Files(recipe, lock, known)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return nil, err
	}
	ws = &workspace{dir: dir, recipe: recipe, locked: lock != nil, cache: noSession{}}
	defer func() {
		if err != nil {
			_ = workdir.RemoveAll(dir)
		}
	}()
	if err := os.Mkdir(ws.temp(), 0o755); err != nil {
		return nil, err
	}
	if err := ws.write(files); err != nil {
		return nil, err
	}
	return ws, nil
}

// write writes files into the workspace.
func (ws *workspace) write(files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(ws.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// reset makes the workspace as it was when it was new, unless it has a lock.
func (ws *workspace) reset(known string) error {
	if ws.locked {
		return nil
	}
	if err := os.RemoveAll(ws.output()); err != nil {
		return err
	}
	return ws.write(map[string]string{"go.mod": gobuild.GoMod(ws.recipe), "go.sum": known})
}

// requires returns the requirements of the go.mod as it is now.
func (ws *workspace) requires() ([]module.Version, error) {
	data, err := os.ReadFile(filepath.Join(ws.dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	return gobuild.Requires(string(data))
}

// lock returns go.mod and go.sum as they are now.
func (ws *workspace) lock() (k6x.Lock, error) {
	goMod, err := os.ReadFile(filepath.Join(ws.dir, "go.mod"))
	if err != nil {
		return k6x.Lock{}, err
	}
	goSum, err := os.ReadFile(filepath.Join(ws.dir, "go.sum"))
	if err != nil {
		return k6x.Lock{}, err
	}
	return k6x.Lock{GoMod: string(goMod), GoSum: string(goSum)}, nil
}

// remove removes the workspace.
func (ws *workspace) remove(log *slog.Logger) {
	ws.cache.Close()
	if err := workdir.RemoveAll(ws.dir); err != nil {
		log.Error("a build's workspace cannot be removed", "dir", ws.dir, "err", err)
	}
}
