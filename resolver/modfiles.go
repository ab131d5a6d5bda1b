package resolver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

// loadFile reads a go.mod file from disk.
func (m *modules) loadFile(mod module.Version) (v value[*gomod.File], ok bool) {
	name, err := m.fileName(mod)
	var data []byte
	if err == nil {
		data, err = disk.ReadFile(name, gomod.MaxFile)
	}
	if err != nil {
		return v, false
	}
	if v.value, err = parseModFile(mod, data); err != nil {
		m.cfg.Logger.Warn("a go.mod file on disk is of no use", "module", mod.Path, "version", mod.Version)
	}
	return v, err == nil
}

// fetchFile returns the go.mod file of a module version. Errors are of kind [k6x.NotFound]
// if there is no such version or its go.mod file is of no use, and [k6x.Unavailable]
// otherwise; they satisfy [gomod.Definite] if asking again soon would not help.
func (m *modules) fetchFile(ctx context.Context, mod module.Version) (*gomod.File, error) {
	name, err := m.fileName(mod)
	if err != nil {
		return nil, unavailable(mod.String(), fmt.Errorf("%w: %w", gomod.ErrAbsent, err))
	}
	data, err := m.proxy.GoMod(ctx, mod)
	var file *gomod.File
	if err == nil {
		file, err = parseModFile(mod, data)
	}
	if err != nil {
		return nil, m.unavailable(mod.Path, mod.String(), err)
	}
	if err := keep(m.temp, name, data); err != nil {
		m.cfg.Logger.Warn("a go.mod file cannot be kept on disk", "module", mod.Path, "version", mod.Version, "error", err)
	}
	return file, nil
}

// fileName returns where the go.mod file of a module version is kept.
func (m *modules) fileName(mod module.Version) (string, error) {
	if err := module.Check(mod.Path, mod.Version); err != nil {
		return "", err
	}
	name, err := gomod.FileName(mod, ".mod")
	return filepath.Join(m.cfg.Dir, "mod", name), err
}

// parseModFile reads the go.mod file of a module version. Errors are of type [gomod.Useless].
func parseModFile(mod module.Version, data []byte) (*gomod.File, error) {
	file, err := gomod.Parse(data)
	if err != nil {
		return nil, &gomod.Useless{Reason: "has a go.mod file that is malformed: " + clip(k6x.Printable(err.Error()))}
	}
	if file.Path != mod.Path {
		return nil, gomod.OtherPath(file.Path, mod.Path)
	}
	for _, r := range file.Require {
		if module.CheckPath(r.Path) == nil && semver.IsValid(r.Version) {
			continue
		}
		useless := &gomod.Useless{Reason: "requires " + clip(k6x.Printable(r.String())) + ", which cannot be"}
		if by, ok := file.Replaces(r); ok {
			useless.Reason += ": " + gomod.Ignored(r, by)
		}
		return nil, useless
	}
	return file, nil
}

// needs is what a module version brings into the build list of a main module that
// requires it.
type needs struct {
	goLine string            // the newest go line among its modules
	lowest map[string]string // module path → the lowest version that will do
}

// k6 returns the module paths of k6 among those.
func (n *needs) k6() (paths []string) {
	for path := range n.lowest {
		if k6Major(path) != 0 {
			paths = append(paths, path)
		}
	}
	return paths
}

// needs returns what a module version needs, by the go command's rules for pruned
// module graphs (https://go.dev/ref/mod#graph-pruning). Errors are those of fetchFile. Nothing is followed any more when ctx ends.
func (m *modules) needs(ctx context.Context, mod module.Version) (*needs, error) {
	if n, ok := m.followed.Get(mod); ok {
		return n, nil
	}
	file, err := m.files.get(ctx, mod)
	if err != nil {
		return nil, err
	}
	load := gomod.Loader{Read: m.files.get, Limit: gomod.MaxFetched, AtOnce: fetchesAtOnce}
	graph, err := load.Load(ctx, []module.Version{mod})
	if errors.Is(err, gomod.ErrTooLarge) {
		err = unavailable(mod.String(), fmt.Errorf("%w: %w", gomod.ErrAbsent, err))
	}
	if gomod.Definite(err) {
		for _, r := range file.Require {
			by, ok := file.Replaces(r)
			if !ok {
				continue
			}
			if _, err := m.files.get(ctx, r); gomod.Definite(err) {
				return nil, k6x.Errorf(k6x.KindOf(err), "%s needs %s, which cannot be had: %s", mod, r, gomod.Ignored(r, by)).WithCause(err)
			}
		}
		return nil, k6x.Errorf(k6x.KindOf(err), "%s needs a module that cannot be had: %w", mod, err)
	}
	if err != nil {
		return nil, err
	}
	n := &needs{goLine: graph.Go, lowest: graph.Needed}
	m.followed.Add(mod, n)
	return n, nil
}
