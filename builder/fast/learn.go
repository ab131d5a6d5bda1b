package fast

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x/builder/internal/gobuild"
	"k6x/builder/native"
)

// Bounds on learning.
const (
	maxListing = 64 << 20 // bytes that go list may print
	learnTime  = time.Minute
)

// listing is what go list says about the packages of a program.
type listing struct {
	goVersion string             // of the main module
	std       map[string]archive // by import path
	packages  []listed           // of all other modules but the main one
}

// modules returns the modules of the packages, path@version.
func (l *listing) modules() map[string]bool {
	modules := make(map[string]bool)
	for _, p := range l.packages {
		modules[p.module.String()] = true
	}
	return modules
}

type listed struct {
	path    string
	module  module.Version
	sum     string
	archive archive
	imports []string
}

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
		e.log.Warn("nothing was learned from a build", "path", b.recipe.Path(), "error", err)
	}
}

func (e *Engine) learnFrom(ctx context.Context, b *build) error {
	list, err := e.list(ctx, b.ws)
	if err != nil {
		return err
	}
	tags, err := tagsOf(ctx, b.ws)
	if err != nil {
		return err
	}
	lock, err := b.ws.Lock()
	if err != nil {
		return err
	}
	x := e.indexes.of(b.recipe)
	p, added, err := e.addTo(x, b, list, tags, lock.GoSum)
	if p == nil {
		return err
	}
	same := p.goMod == lock.GoMod && p.info == b.info
	if same && !added.proven {
		if b.digest == "" { // the index was proven when that was answered, and has been forgotten since
			return nil
		}
		if same, err = linksSame(ctx, b, p); err != nil {
			return err
		}
	}
	if !same {
		return e.refutePlan(x, b, added)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.Proven = true
	return x.save()
}

// addition is what was added to an index.
type addition struct {
	modules []string // path@version, of which it knew nothing
	proven  bool     // whether it was, before
}

// addTo adds what go build has compiled to an index, and plans by that what to link. There is no plan, and no error, if versions are met on the way
// that were never compiled.
func (e *Engine) addTo(x *index, b *build, list *listing, t tags, goSum string) (*plan, addition, error) {
	refuted, err := e.indexes.readRefuted()
	if err != nil {
		return nil, addition{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.Tags = t
	added := addition{x.unknown(list.modules()), x.Proven}
	if err := x.add(list, b.info, goSum); err != nil {
		return nil, added, err
	}
	p, err := e.plan(x, b.recipe, refuted, nil)
	if err != nil {
		if errors.Is(err, errUnknown) {
			err = nil
		}
		return nil, added, errors.Join(err, x.save())
	}
	return p, added, nil
}

// refutePlan leaves to go build what was planned otherwise than go build has it. What was right until now is so still: what is new is at
// fault, if something is. Extensions are before k6 and what they need.
func (e *Engine) refutePlan(x *index, b *build, added addition) error {
	suspects := added.modules
	extensions := labelsOf(gobuild.Pins(b.recipe)[1:])
	asked := slices.DeleteFunc(slices.Clone(extensions), func(name string) bool { return !slices.Contains(suspects, name) })
	switch {
	case len(asked) > 0:
		suspects = asked
	case !added.proven && len(extensions) > 0:
		suspects = extensions
	case !added.proven || len(suspects) == 0:
		suspects = []string{x.name()}
	}
	if !added.proven {
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
	if err := link(ctx, b, p, again); err != nil {
		return false, err
	}
	return b.has(ctx, filepath.Join(b.ws.Dir(), again))
}

// list asks the go command about the packages of a workspace, all of which are compiled.
func (e *Engine) list(ctx context.Context, ws *native.Workspace) (*listing, error) {
	out, err := ws.Go(ctx, maxListing, "list", "-mod=mod", "-trimpath", "-buildvcs=false", "-deps", "-export",
		"-json=ImportPath,Export,Imports,Standard,Module", ".")
	if err != nil {
		return nil, err
	}
	return e.parseListing(out)
}

// tagsOf asks the go command for the build tags of a workspace.
func tagsOf(ctx context.Context, ws *native.Workspace) (tags, error) {
	out, err := ws.Go(ctx, 1<<16, "list", "-f", `{{join context.ReleaseTags " "}}{{"\n"}}{{join context.ToolTags " "}}`, "unsafe")
	if err != nil {
		return tags{}, err
	}
	release, tool, _ := strings.Cut(string(out), "\n")
	return tags{strings.Fields(release), strings.Fields(tool)}, nil
}

func (e *Engine) parseListing(out []byte) (*listing, error) {
	list := &listing{std: make(map[string]archive)}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
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
			return nil, err
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		file, err := filepath.Rel(e.builds, p.Export)
		if err != nil || p.Export == "" || !filepath.IsLocal(file) {
			return nil, fmt.Errorf("%s is not in the build cache", p.ImportPath)
		}
		info, err := os.Stat(p.Export)
		if err != nil {
			return nil, err
		}
		compiled := archive{File: file, Size: info.Size()}
		switch {
		case p.Standard:
			list.std[p.ImportPath] = compiled
		case p.Module == nil || p.Module.Replace != nil:
			return nil, fmt.Errorf("%s is of no module", p.ImportPath)
		case p.Module.Main:
			list.goVersion = p.Module.GoVersion
		default:
			if p.Module.Sum == "" {
				return nil, fmt.Errorf("%s has no sum", p.Module.Path)
			}
			list.packages = append(list.packages, listed{
				path: p.ImportPath, module: module.Version{Path: p.Module.Path, Version: p.Module.Version}, sum: p.Module.Sum,
				archive: compiled, imports: p.Imports,
			})
		}
	}
	if list.goVersion == "" {
		return nil, errors.New("no main package was listed")
	}
	return list, nil
}
