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
	"strings"
	"time"

	"golang.org/x/mod/module"
)

// Bounds on learning, which a build waits for.
const (
	maxListing = 64 << 20 // bytes that go list may print
	learnTime  = time.Minute
)

// listing is what go list says about the packages of a program.
type listing struct {
	goVersion string // of the main module
	godebug   string
	std       map[string]string // file by import path
	packages  []listed          // of all other modules but the main one
}

type listed struct {
	path    string
	module  module.Version
	sum     string
	archive string
	imports []string
}

// assembles reports whether binaries like that of ws may be assembled. What needs a C
// compiler, another toolchain than ours or a lock is left to the go command.
func (e *Engine) assembles(ws *workspace) bool {
	return !ws.locked && !ws.recipe.Cgo && ws.recipe.Toolchain == e.cfg.Tool.Version
}

// learn adds to the kit what go build has just compiled in ws. The first time it also
// assembles the same binary and compares. It is worth nothing if it fails but a note in the log.
func (e *Engine) learn(ctx context.Context, ws *workspace) {
	if !e.assembles(ws) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	if err := e.learnFrom(ctx, ws); err != nil && ctx.Err() == nil {
		e.log.Warn("nothing was learned from a build", "path", ws.recipe.Path(), "error", err)
	}
}

func (e *Engine) learnFrom(ctx context.Context, ws *workspace) error {
	list, err := e.list(ctx, ws)
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
	k := e.kits.of(ws.recipe)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.add(list, lock.GoSum); err != nil {
		return err
	}
	if !k.Proven {
		info.GoVersion = "" // as it is linked in
		k.Info = info.String()
		if err := e.prove(ctx, ws, k, lock.GoMod); err != nil {
			return err
		}
		k.Proven = true
	}
	return k.save()
}

// prove assembles what is in ws once more and compares. The caller holds k.mu.
func (e *Engine) prove(ctx context.Context, ws *workspace, k *kit, goMod string) error {
	p, err := e.plan(k, ws.recipe)
	if err != nil {
		return err
	}
	if p.goMod != goMod {
		return errors.New("the go command wrote another go.mod")
	}
	const again = "again.out"
	if err := e.link(ctx, ws, p, again); err != nil {
		return err
	}
	same, err := sameFiles(ws.output(), filepath.Join(ws.dir, again))
	if err == nil && !same {
		err = errors.New("the go command made another binary")
	}
	return err
}

// list asks the go command about the packages of ws, all of which are compiled.
func (e *Engine) list(ctx context.Context, ws *workspace) (*listing, error) {
	cmd := e.program(ctx, ws, e.cfg.Tool.Path, "list", "-mod=mod", "-trimpath", "-buildvcs=false", "-deps", "-export",
		"-json=ImportPath,Export,Imports,Standard,Module,DefaultGODEBUG", ".")
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{w: &out, left: maxListing}
	if err := e.runQuietly(cmd); err != nil {
		return nil, err
	}
	return e.parseListing(&out)
}

func (e *Engine) parseListing(r io.Reader) (*listing, error) {
	list := &listing{std: make(map[string]string)}
	for dec := json.NewDecoder(r); ; {
		var p struct {
			ImportPath, Export, DefaultGODEBUG string
			Standard                           bool
			Imports                            []string
			Module                             *struct {
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
		archive, err := filepath.Rel(e.dirs.Cache, p.Export)
		if err != nil || p.Export == "" || !filepath.IsLocal(archive) {
			return nil, fmt.Errorf("%s is not in the build cache", p.ImportPath)
		}
		switch {
		case p.Standard:
			list.std[p.ImportPath] = archive
		case p.Module == nil || p.Module.Replace != nil:
			return nil, fmt.Errorf("%s is of no module", p.ImportPath)
		case p.Module.Main:
			list.goVersion, list.godebug = p.Module.GoVersion, p.DefaultGODEBUG
		default:
			if p.Module.Sum == "" {
				return nil, fmt.Errorf("%s has no sum", p.Module.Path)
			}
			list.packages = append(list.packages, listed{
				path: p.ImportPath, module: module.Version{Path: p.Module.Path, Version: p.Module.Version}, sum: p.Module.Sum,
				archive: archive, imports: p.Imports,
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
