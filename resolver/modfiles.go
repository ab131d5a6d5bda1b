package resolver

import (
	"context"
	"fmt"
	"path/filepath"

	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"

	"k6x"
	"k6x/internal/disk"
	"k6x/internal/gomod"
)

// loadFile reads a go.mod file from disk.
func (m *modules) loadFile(mod module.Version) (v value[*gomod.File], ok bool) {
	name, err := m.fileName(mod)
	if err != nil {
		return v, false
	}
	data, err := disk.ReadFile(name, gomod.MaxFile)
	if err != nil {
		return v, false
	}
	if v.value, err = parseModFile(mod, data); err != nil {
		m.log.Warn("a go.mod file on disk is of no use", "module", mod.Path, "version", mod.Version)
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
	if err := m.disk.write(name, data); err != nil {
		m.log.Warn("a go.mod file cannot be kept on disk", "module", mod.Path, "version", mod.Version, "error", err)
	}
	return file, nil
}

// file returns where the go.mod file of a module version is kept.
func (m *modules) fileName(mod module.Version) (string, error) {
	if err := module.Check(mod.Path, mod.Version); err != nil {
		return "", err
	}
	name, err := gomod.FileName(mod, ".mod")
	return filepath.Join(m.dir, "mod", name), err
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
		if module.CheckPath(r.Path) == nil && modsemver.IsValid(r.Version) {
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
