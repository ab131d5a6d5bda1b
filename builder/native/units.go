package native

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"

	"k6x"
)

const (
	downloadTime = 30 * time.Second // for what is fetched before the go command is asked for all
	maxChecked   = 16               // modules
)

// checked are the hashes that the go command has just found to be right.
type checked map[module.Version]struct{ Sum, GoModSum string }

// check has the go command download modules, unless they are here, and check their hashes, as go build would.
func (e *Engine) check(ctx context.Context, ws *workspace, c checked, modules []module.Version) error {
	if len(c)+len(modules) > maxChecked {
		return errUnknown
	}
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		args = append(args, m.String())
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	cmd := e.fetcher(ctx, ws, args...)
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{w: &out, left: 1 << 20}
	if err := quietly(cmd, func() error { return e.cfg.Cage.Run(cmd, e.fetching(ws)) }); err != nil {
		return err
	}
	for dec := json.NewDecoder(&out); ; {
		var m struct{ Path, Version, Sum, GoModSum string }
		if err := dec.Decode(&m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if m.Sum == "" || m.GoModSum == "" {
			return fmt.Errorf("%s has no sum: %w", m.Path, errUnknown)
		}
		c[module.Version{Path: m.Path, Version: m.Version}] = struct{ Sum, GoModSum string }{m.Sum, m.GoModSum}
	}
}

// compileUnits compiles what a plan needs that was never compiled, as the go command would, and completes the plan.
func (e *Engine) compileUnits(ctx context.Context, ws *workspace, p *plan) error {
	for i, unit := range p.units {
		files := make(map[string]string)
		for _, path := range slices.Concat(unit.source.std, unit.source.imports) {
			files[path] = p.files[path]
		}
		cfg := filepath.Join(ws.temp(), fmt.Sprintf("importcfg.%d", i))
		if err := os.WriteFile(cfg, []byte("# import config\n"+importcfg(files)), 0o644); err != nil {
			return err
		}
		archive := filepath.Join(ws.temp(), fmt.Sprintf("unit%d.a", i))
		rel, err := filepath.Rel(e.dirs.ModCache, unit.source.dir)
		if err != nil {
			return err
		}
		args := []string{
			"-o", archive, "-trimpath", unit.source.dir + "=>" + unescaped(filepath.ToSlash(rel)) + ";" + ws.temp() + "=>", "-p", unit.path,
			"-lang=" + version.Lang("go"+unit.source.lang), "-complete", "-goversion", ws.recipe.Toolchain, "-c=2", "-nolocalimports",
			"-importcfg", cfg, "-pack",
		}
		if shared(ws.recipe.Platform.OS) {
			args = slices.Insert(args, 0, "-shared")
		}
		for _, file := range unit.source.files {
			args = append(args, filepath.Join(unit.source.dir, file))
		}
		if err := e.runTool(ctx, ws, "compile", args, nil); err != nil {
			return err
		}
		p.files[unit.path] = archive
		if _, ok := p.direct[unit.path]; ok {
			p.direct[unit.path] = archive
		}
	}
	return nil
}

// unescaped returns the name of a directory of the module cache as the go command writes it into a binary: with capital letters
// instead of exclamation marks.
func unescaped(dir string) string {
	var b strings.Builder
	upper := false
	for _, r := range dir {
		if r == '!' {
			upper = true
			continue
		}
		if upper {
			b.WriteString(strings.ToUpper(string(r)))
		} else {
			b.WriteRune(r)
		}
		upper = false
	}
	return b.String()
}

// suspects returns the modules, path@version, that are at fault if the go command does not make the same with units: those that packages are
// compiled of, but none that the kit knows if there are others. The caller holds k.mu.
func suspects(k *kit, units []unit) []string {
	modules := make(map[string]bool)
	for _, unit := range units {
		modules[unit.module.String()] = true
	}
	if unknown := k.unknown(modules); len(unknown) > 0 {
		return unknown
	}
	return slices.Sorted(maps.Keys(modules))
}

// confirm has the go command build what was made with packages that were compiled here, and compares. It reports whether
// the go command has made the same, which then is in ws. If it has not, the suspects are left to it from now on.
func (e *Engine) confirm(ctx context.Context, ws *workspace) bool {
	same, err := e.sameByGoBuild(ctx, ws)
	if ctx.Err() != nil {
		return false
	}
	refused := k6x.KindOf(err).Lasting() || k6x.KindOf(err) == k6x.Invalid // the go command would not have made it at all
	if err != nil && (!refused || k6x.AsError(err).Limit != (k6x.Limit{})) {
		e.log.Warn("a binary cannot be compared with that of the go command", "path", ws.recipe.Path(), "error", err)
		return false
	}
	ws.unconfirmed = false
	if !same {
		e.kits.wrong.Add(1)
		files, failed := e.kits.refute(ws.suspects...)
		e.log.Error("a binary that was answered is not what the go command makes, so modules are left to it from now on; remove the files to try again",
			"path", ws.recipe.Path(), "key", ws.recipe.Key(), "modules", ws.suspects, "files", files, "error", errors.Join(err, failed))
	}
	return same
}

// RefutedBuilds returns how many binaries were answered that the go command then refused to make, or made in another way.
func (e *Engine) RefutedBuilds() int64 { return e.kits.wrong.Load() }

// sameByGoBuild has the go command make the binary of ws, and compares.
func (e *Engine) sameByGoBuild(ctx context.Context, ws *workspace) (bool, error) {
	made := filepath.Join(ws.dir, "made.out")
	if _, err := os.Stat(made); err != nil { // else it is not the first time
		if err := os.Rename(ws.output(), made); err != nil {
			return false, err
		}
	}
	if err := ws.reset(e.sums.known()); err != nil {
		return false, err
	}
	e.shareCache(ctx, ws, true)
	if err := e.compile(ctx, ws); err != nil {
		return false, err
	}
	return sameFiles(ws.output(), made)
}
