package fast

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/builder/native"
)

// Bounds on learning.
const (
	maxListing = 64 << 20 // bytes that go list may print
	learnTime  = time.Minute
)

// learn adds to the index what go build has compiled for b. It compares what would be linked
// with what was linked, the first time by linking it. It is worth nothing if it fails but a note in the log.
func (e *Engine) learn(ctx context.Context, b *build) {
	if err := b.ws.Enter(ctx); err != nil {
		return // cut off
	}
	defer b.ws.Leave()
	if b.unconfirmed && !e.confirm(ctx, b) {
		return
	}
	refuted, err := e.indexes.readRefuted()
	if err != nil {
		e.log.Warn("all is left to go build", "error", err)
		return
	}
	if refuted.has(e.indexes.of(b.recipe).name()) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	if err := e.learnFrom(limited, b); err != nil && ctx.Err() == nil {
		e.log.Warn("not all was learned from a build", "path", b.recipe.Path(), "error", err)
	}
}

func (e *Engine) learnFrom(ctx context.Context, b *build) error {
	compiled, err := e.list(ctx, b)
	if err != nil {
		return err
	}
	if compiled.Tags, err = tagsOf(ctx, b.ws); err != nil {
		return err
	}
	lock, err := b.ws.Lock()
	if err != nil {
		return err
	}
	compiled.GoSum = lock.GoSum
	x := e.indexes.of(b.recipe)
	p, unknown, err := e.addTo(x, b.recipe, compiled)
	if p == nil {
		return err
	}
	same := p.goMod == lock.GoMod && p.info == b.info
	proven := x.isProven()
	if same && !proven {
		if err = e.gather(ctx, b, p); err != nil {
			return err
		}
		if same, err = linksSame(ctx, b, p); err != nil {
			return err
		}
	}
	if !same {
		return e.refutePlan(x, b, unknown, proven)
	}
	x.mu.Lock()
	x.Proven = true
	err = x.save()
	x.mu.Unlock()
	return errors.Join(err, e.publish(ctx, b, x))
}

// addTo adds what go build has compiled to an index, and plans by that what to link. Unknown are the modules, path@version, of which the index knew
// nothing. There is no plan, and no error, if versions are met on the way that were never compiled.
func (e *Engine) addTo(x *index, recipe k6x.Recipe, compiled indexData) (p *plan, unknown []string, err error) {
	refuted, err := e.indexes.readRefuted()
	if err != nil {
		return nil, nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	unknown = x.unknown(maps.Keys(compiled.Sums))
	if x.Shared {
		if err := contradiction(x.GoSum, compiled.GoSum); err != nil {
			e.log.Error("the go command has found other modules than the shared build cache says, so that nothing of its package index is used any more",
				"path", recipe.Path(), "error", err)
			x.indexData, x.parsed = newIndexData(), nil
		}
	}
	x.add(compiled)
	if p, err = e.plan(x, recipe, refuted, nil); err != nil {
		if errors.Is(err, errUnknown) {
			err = nil
		}
		return nil, nil, errors.Join(err, x.save())
	}
	x.addFacts(p, e.mods)
	return p, unknown, nil
}

// refutePlan leaves to go build what was planned otherwise than go build has it. What was right until now is so still: what is new is at
// fault, if something is. Extensions are before k6 and what they need.
func (e *Engine) refutePlan(x *index, b *build, suspects []string, proven bool) error {
	extensions := labelsOf(gobuild.Pins(b.recipe)[1:])
	asked := slices.DeleteFunc(slices.Clone(extensions), func(name string) bool { return !slices.Contains(suspects, name) })
	switch {
	case len(asked) > 0:
		suspects = asked
	case !proven && len(extensions) > 0:
		suspects = extensions
	case !proven || len(suspects) == 0:
		suspects = []string{x.name()}
	}
	if !proven {
		e.indexes.drop(x) // to begin anew, without them
	}
	files, err := e.indexes.refute(suspects...)
	return errors.Join(fmt.Errorf("the go command made another binary, so that %q are left to it; remove %q to try again", suspects, files), err)
}

// labelsOf returns modules as path@version.
func labelsOf(modules []module.Version) []string {
	list := make([]string, len(modules))
	for i, m := range modules {
		list[i] = m.String()
	}
	return list
}

// linksSame links the binary once more and compares.
func linksSame(ctx context.Context, b *build, p *plan) (bool, error) {
	const again = "again.out"
	args, err := linking(ctx, b, p, again)
	if err == nil {
		err = b.ws.Tool(ctx, "link", args, linkEnv)
	}
	if err != nil {
		return false, err
	}
	return b.is(ctx, filepath.Join(b.ws.Dir(), again))
}

// list asks the go command about the packages of a binary, all of which are compiled.
func (e *Engine) list(ctx context.Context, b *build) (compiled indexData, err error) {
	out, err := b.ws.Go(ctx, maxListing, "list", "-mod=mod", "-trimpath", "-buildvcs=false", "-deps", "-export",
		"-json=ImportPath,Export,Imports,Standard,Module", ".")
	if err != nil {
		return indexData{}, err
	}
	compiled = newIndexData()
	ids := make(map[string]string) // by import path
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var p struct {
			ImportPath, Export string
			Standard           bool
			Imports            []string
			Module             *struct {
				Path, Version, Sum, GoVersion string
				Main                          bool
				Replace                       *struct{}
			}
		}
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			return indexData{}, err
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		file, err := filepath.Rel(e.builds, p.Export)
		if err != nil || p.Export == "" || !filepath.IsLocal(file) {
			return indexData{}, fmt.Errorf("%s is not in the build cache", p.ImportPath)
		}
		info, err := os.Stat(p.Export)
		if err != nil {
			return indexData{}, err
		}
		switch {
		case p.Standard:
			compiled.Std[p.ImportPath] = archive{filepath.ToSlash(file), info.Size()}
			continue
		case p.Module == nil || p.Module.Replace != nil:
			return indexData{}, fmt.Errorf("%s is of no module", p.ImportPath)
		case p.Module.Main:
			compiled.Info[p.Module.GoVersion] = b.info
			continue
		case p.Module.Sum == "":
			return indexData{}, fmt.Errorf("%s has no sum", p.Module.Path)
		}
		m := module.Version{Path: p.Module.Path, Version: p.Module.Version}
		key := packageKey(p.ImportPath, m)
		var imports, imported []string
		for _, path := range p.Imports { // each was listed before
			if _, ok := compiled.Std[path]; ok || path == "unsafe" || path == "C" {
				continue
			}
			id, ok := ids[path]
			if !ok {
				return indexData{}, fmt.Errorf("%s imports %s, which was not listed", p.ImportPath, path)
			}
			imports, imported = append(imports, path), append(imported, id)
		}
		id := identity(key, imported)
		ids[p.ImportPath] = id
		compiled.Packages[key], compiled.Archives[id], compiled.Sums[m.String()] = imports, archive{filepath.ToSlash(file), info.Size()}, p.Module.Sum
	}
	if len(compiled.Info) == 0 {
		return indexData{}, errors.New("no main package was listed")
	}
	return compiled, nil
}

// tagsOf asks the go command for the build tags of a workspace.
func tagsOf(ctx context.Context, ws *native.Workspace) (tags, error) {
	out, err := ws.Go(ctx, 1<<16, "list", "-f", `{{join context.ReleaseTags " "}}{{"\n"}}{{join context.ToolTags " "}}`, "unsafe")
	if err != nil {
		return tags{}, err
	}
	release, tool, _ := strings.Cut(out, "\n")
	return tags{strings.Fields(release), strings.Fields(tool)}, nil
}
