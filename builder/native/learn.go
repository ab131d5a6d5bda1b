package native

import (
	"bytes"
	"context"
	"debug/buildinfo"
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

// assembles reports whether binaries like that of ws may be assembled. What needs a C
// compiler, another toolchain than ours or a lock is left to the go command.
func (e *Engine) assembles(ws *workspace) bool {
	return !ws.locked && !ws.recipe.Cgo && ws.recipe.Toolchain == e.cfg.Tool.Version
}

// learn adds to the kit what go build has just compiled in ws. It compares what would be linked
// with what was linked, the first time by linking it. It is worth nothing if it fails but a note in the log.
func (e *Engine) learn(ctx context.Context, ws *workspace) {
	leave, err := e.gate.shared(ctx)
	if err != nil {
		return // cut off
	}
	defer leave()
	if ws.unconfirmed && !e.confirm(ctx, ws) {
		return
	}
	refuted, err := e.kits.readRefuted()
	if err != nil {
		e.log.Warn("all is left to go build", "error", err)
		return
	}
	if refuted.has(e.kits.of(ws.recipe).name()) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	if err := e.learnFrom(limited, ws); err != nil && ctx.Err() == nil {
		e.log.Warn("nothing was learned from a build", "path", ws.recipe.Path(), "error", err)
	}
}

func (e *Engine) learnFrom(ctx context.Context, ws *workspace) error {
	list, err := e.list(ctx, ws)
	if err != nil {
		return err
	}
	known, err := e.tags(ctx, ws)
	if err != nil {
		return err
	}
	lock, err := ws.lock()
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(ws.output())
	if err != nil {
		return err
	}
	info.GoVersion = "" // as it is linked in
	k := e.kits.of(ws.recipe)
	k.mu.Lock()
	k.Tags = known
	suspects := k.unknown(list.modules())
	if err := k.add(list, info.String(), lock.GoSum); err != nil {
		k.mu.Unlock()
		return err
	}
	proven := k.Proven
	p, err := e.plan(k, ws.recipe, nil)
	if err != nil {
		if errors.Is(err, errUnknown) { // on the way to the versions that were linked, there may be others
			err = nil
		}
		err = errors.Join(err, k.save())
		k.mu.Unlock()
		return err
	}
	k.mu.Unlock()
	same := p.goMod == lock.GoMod && p.info == info.String()
	if same && !proven {
		if same, err = e.linksSame(ctx, ws, p); err != nil {
			return err
		}
	}
	if !same {
		// What was right until now is so still: what is new is at fault, if something is. Extensions are before k6 and what they need.
		extensions := labelsOf(gobuild.Pins(ws.recipe)[1:])
		asked := slices.DeleteFunc(slices.Clone(extensions), func(name string) bool { return !slices.Contains(suspects, name) })
		switch {
		case len(asked) > 0:
			suspects = asked
		case !proven && len(extensions) > 0:
			suspects = extensions
		case !proven || len(suspects) == 0:
			suspects = []string{k.name()}
		}
		if !proven {
			e.kits.drop(k) // to begin anew, without them
		}
		files, err := e.kits.refute(suspects...)
		return errors.Join(fmt.Errorf("the go command made another binary, so that %q are left to it; remove %q to try again", suspects, files), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Proven = true
	return k.save()
}

// labelsOf returns modules as path@version.
func labelsOf(modules []module.Version) []string {
	list := make([]string, len(modules))
	for i, m := range modules {
		list[i] = m.String()
	}
	return list
}

// linksSame links what is in ws once more and compares.
func (e *Engine) linksSame(ctx context.Context, ws *workspace, p *plan) (bool, error) {
	const again = "again.out"
	if err := e.link(ctx, ws, p, again); err != nil {
		return false, err
	}
	return sameFiles(ws.output(), filepath.Join(ws.dir, again))
}

// list asks the go command about the packages of ws, all of which are compiled.
func (e *Engine) list(ctx context.Context, ws *workspace) (*listing, error) {
	cmd := e.program(ctx, ws, e.cfg.Tool.Path, "list", "-mod=mod", "-trimpath", "-buildvcs=false", "-deps", "-export",
		"-json=ImportPath,Export,Imports,Standard,Module", ".")
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{w: &out, left: maxListing}
	if err := quietly(cmd, func() error { return e.runIn(ws, cmd) }); err != nil {
		return nil, err
	}
	return e.parseListing(&out)
}

// tags asks the go command for the build tags of ws.
func (e *Engine) tags(ctx context.Context, ws *workspace) (tags, error) {
	cmd := e.program(ctx, ws, e.cfg.Tool.Path, "list", "-f", `{{join context.ReleaseTags " "}}{{"\n"}}{{join context.ToolTags " "}}`, "unsafe")
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{w: &out, left: 1 << 16}
	if err := quietly(cmd, func() error { return e.runIn(ws, cmd) }); err != nil {
		return tags{}, err
	}
	release, tool, _ := strings.Cut(out.String(), "\n")
	return tags{strings.Fields(release), strings.Fields(tool)}, nil
}

func (e *Engine) parseListing(r io.Reader) (*listing, error) {
	list := &listing{std: make(map[string]archive)}
	for dec := json.NewDecoder(r); ; {
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
		file, err := filepath.Rel(e.dirs.Cache, p.Export)
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

// limitedWriter fails when it has been given more than it may take.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("too much output")
	}
	return l.w.Write(p)
}

// sameFiles reports whether two files have the same bytes.
func sameFiles(a, b string) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, errA := io.ReadFull(fa, bufA)
		m, errB := io.ReadFull(fb, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			end := func(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }
			if end(errA) && end(errB) {
				return true, nil
			}
			return false, errors.Join(errA, errB)
		}
	}
}

// tailOf returns the end of a text for the log.
func tailOf(text string) string {
	const most = 2000
	return strings.ToValidUTF8(text[max(0, len(text)-most):], "")
}
