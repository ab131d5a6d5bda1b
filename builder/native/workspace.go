package native

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/workdir"
)

// workspace is the directory of one build: the main module, temporary files and the binary.
type workspace struct {
	dir    string
	recipe k6x.Recipe
	locked bool // go.mod and go.sum are those of an earlier build

	progress *progress    // nil: nobody watches
	replaced replacements // nil: no module is replaced
}

const outputName = "k6.out"

func (ws *workspace) temp() string   { return filepath.Join(ws.dir, "tmp") }
func (ws *workspace) output() string { return filepath.Join(ws.dir, outputName) }

// newWorkspace writes the main module of a recipe into a new directory below parent, with the
// lock or, if there is none, with the go.sum lines that are known.
func newWorkspace(parent string, recipe k6x.Recipe, lock *k6x.Lock, known string) (ws *workspace, err error) {
	files := map[string]string{"main.go": newMain(recipe), "go.mod": newGoMod(recipe), "go.sum": known}
	if lock != nil {
		if err := checkLock(lock); err != nil {
			return nil, err
		}
		files["go.mod"], files["go.sum"] = lock.GoMod, lock.GoSum
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return nil, err
	}
	ws = &workspace{dir: dir, recipe: recipe, locked: lock != nil}
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
	return ws.write(map[string]string{"go.mod": newGoMod(ws.recipe), "go.sum": known})
}

// newMain returns the main package: k6 and the extensions, which are imported for
// what they register. A change of it needs a new layout number.
func newMain(recipe k6x.Recipe) string {
	var b strings.Builder
	fmt.Fprintf(&b, "package main\n\nimport (\n\t%q\n", recipe.K6.Path+"/cmd")
	for _, m := range recipe.Extensions {
		fmt.Fprintf(&b, "\t_ %q\n", m.Path)
	}
	b.WriteString(")\n\nfunc main() { cmd.Execute() }\n")
	return b.String()
}

// newGoMod returns the go.mod with the pins. The go line is raised by the go command
// to what the modules need.
func newGoMod(recipe k6x.Recipe) string {
	var b strings.Builder
	b.WriteString("module k6\n\ngo 1.21\n\nrequire (\n")
	for _, m := range pins(recipe) {
		fmt.Fprintf(&b, "\t%s %s\n", m.Path, m.Version)
	}
	b.WriteString(")\n")
	return b.String()
}

// checkLock refuses a lock that says more than versions.
func checkLock(lock *k6x.Lock) error {
	f, err := modfile.Parse("go.mod", []byte(lock.GoMod), nil)
	if err != nil || f.Module == nil || f.Module.Mod.Path != "k6" || len(f.Replace) > 0 || len(f.Exclude) > 0 || len(f.Tool) > 0 {
		return k6x.Errorf(k6x.Internal, "the stored lock of this binary is damaged").WithCause(err)
	}
	return nil
}

// requires returns the requirements of the go.mod as it is now.
func (ws *workspace) requires() ([]module.Version, error) {
	data, err := os.ReadFile(filepath.Join(ws.dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	f, err := modfile.Parse("go.mod", data, nil)
	if err != nil {
		return nil, err
	}
	list := make([]module.Version, len(f.Require))
	for i, r := range f.Require {
		list[i] = r.Mod
	}
	return list, nil
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

// copyOutput copies the binary to w, whose writes may fail as ctx ends.
func (ws *workspace) copyOutput(ctx context.Context, w io.Writer) error {
	f, err := os.Open(ws.output())
	if err != nil {
		return fileError("reading the binary", err)
	}
	defer f.Close()
	if err := ctx.Err(); err != nil {
		return stopped(ctx, err)
	}
	if _, err := io.Copy(w, f); err != nil {
		return fileError("keeping the binary", err)
	}
	return nil
}

// remove removes the workspace.
func (ws *workspace) remove(log *slog.Logger) {
	if err := workdir.RemoveAll(ws.dir); err != nil {
		log.Error("a build's workspace cannot be removed", "dir", ws.dir, "err", err)
	}
}
