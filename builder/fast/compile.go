package fast

import (
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
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
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

// compileMissing compiles what a plan needs that was never compiled, as the go command would, and completes the plan.
func compileMissing(ctx context.Context, b *build, p *plan) error {
	for i, pkg := range p.compiles {
		imports := make(map[string]string)
		for _, path := range slices.Concat(pkg.std, pkg.imports) {
			imports[path] = p.files[path]
		}
		var files []string
		for _, file := range pkg.files {
			files = append(files, filepath.Join(pkg.dir, file))
		}
		dir := pkg.module.String() + strings.TrimPrefix(pkg.path, pkg.module.Path) // as it stands in the binary
		archive, err := compile(ctx, b, fmt.Sprintf("package%d.a", i), pkg.path, pkg.dir+"=>"+dir, pkg.lang, imports, files...)
		if err != nil {
			return err
		}
		p.files[pkg.path] = archive
	}
	return nil
}

// compile compiles a package as go build with our flags would, into an archive with that name. Trim is what becomes of the directory of the files in it,
// lang the go version of the module, imports the file of each package that it imports.
func compile(ctx context.Context, b *build, name, path, trim, lang string, imports map[string]string, files ...string) (archive string, err error) {
	temp := b.ws.Temp()
	archive = filepath.Join(temp, name)
	if err := os.WriteFile(archive+".importcfg", []byte("# import config\n"+importcfg(imports)), 0o644); err != nil {
		return "", err
	}
	args := []string{
		"-o", archive, "-trimpath", trim + ";" + temp + "=>", "-p", path, "-lang=" + version.Lang("go"+lang), "-complete",
		"-goversion", b.recipe.Toolchain, "-c=2", "-nolocalimports", "-importcfg", archive + ".importcfg", "-pack",
	}
	if shared(b.recipe.Platform.OS) {
		args = slices.Insert(args, 0, "-shared")
	}
	return archive, b.ws.Tool(ctx, "compile", append(args, files...), nil)
}
