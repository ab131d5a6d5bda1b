package native

import (
	"context"
	"fmt"
	"go/version"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k6x/builder/internal/gobuild"
)

// downloadTime bounds what is fetched for a binary before the go command is asked.
const downloadTime = 30 * time.Second

// download has the go command download the modules of ws that were asked for and are not here, which it checks.
func (e *Engine) download(ctx context.Context, ws *workspace) error {
	var missing []string
	for _, m := range gobuild.Pins(ws.recipe) {
		if _, err := extracted(e.dirs.ModCache, m); err != nil {
			missing = append(missing, m.String())
		}
	}
	if missing == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	return e.runQuietly(e.program(ctx, ws, e.cfg.Tool.Path, append([]string{"mod", "download"}, missing...)...))
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
		if err := e.runQuietly(e.program(ctx, ws, e.toolPath("compile"), args...)); err != nil {
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

// confirm has the go command build what was made with packages that were compiled here, and compares. The binary of ws
// is then that of the go command.
func (e *Engine) confirm(ctx context.Context, ws *workspace) error {
	made := filepath.Join(ws.dir, "made.out")
	if err := os.Rename(ws.output(), made); err != nil {
		return err
	}
	if err := ws.reset(e.sums.known()); err != nil {
		return err
	}
	e.shareCache(ctx, ws, true)
	if err := e.compile(ctx, ws); err != nil {
		return err
	}
	same, err := sameFiles(ws.output(), made)
	if err != nil || same {
		return err
	}
	k := e.kits.of(ws.recipe)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Refuted = true
	return fmt.Errorf("a binary that was made is not that of the go command, so all are left to it; remove %s to try again: %w", k.file, k.save())
}
