package fast

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/version"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/module"
)

const (
	downloadTime = 30 * time.Second // for what is fetched before the go command is asked for all
	maxChecked   = 16               // modules
)

// checked are the hashes that the go command has just found to be right.
type checked map[module.Version]struct{ Sum, GoModSum string }

// check has the go command download modules, unless they are here, and check their hashes, as go build would.
func check(ctx context.Context, b *build, c checked, modules []module.Version) error {
	if len(c)+len(modules) > maxChecked {
		return errUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTime)
	defer cancel()
	out, err := b.ws.GoFetching(ctx, 1<<20, append([]string{"mod", "download", "-json"}, labelsOf(modules)...)...)
	if err != nil {
		return err
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
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

// compile compiles what a plan needs that was never compiled, as the go command would, and completes the plan.
func (e *Engine) compile(ctx context.Context, b *build, p *plan) error {
	temp := b.ws.Temp()
	for i, pkg := range p.compiles {
		files := make(map[string]string)
		for _, path := range slices.Concat(pkg.source.std, pkg.source.imports) {
			files[path] = p.files[path]
		}
		cfg := filepath.Join(temp, fmt.Sprintf("importcfg.%d", i))
		if err := os.WriteFile(cfg, []byte("# import config\n"+importcfg(files)), 0o644); err != nil {
			return err
		}
		archive := filepath.Join(temp, fmt.Sprintf("package%d.a", i))
		rel, err := filepath.Rel(e.mods.Dir, pkg.source.dir)
		if err != nil {
			return err
		}
		args := []string{
			"-o", archive, "-trimpath", pkg.source.dir + "=>" + unescaped(filepath.ToSlash(rel)) + ";" + temp + "=>", "-p", pkg.path,
			"-lang=" + version.Lang("go"+pkg.source.lang), "-complete", "-goversion", b.recipe.Toolchain, "-c=2", "-nolocalimports",
			"-importcfg", cfg, "-pack",
		}
		if shared(b.recipe.Platform.OS) {
			args = slices.Insert(args, 0, "-shared")
		}
		for _, file := range pkg.source.files {
			args = append(args, filepath.Join(pkg.source.dir, file))
		}
		if err := b.ws.Tool(ctx, "compile", args, nil); err != nil {
			return err
		}
		p.files[pkg.path] = archive
		if _, ok := p.direct[pkg.path]; ok {
			p.direct[pkg.path] = archive
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
