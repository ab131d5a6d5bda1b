package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"

	"k6x/internal/gomod"
)

const (
	keptMods      = 2048        // parsed go.mod files in memory
	keptNeeds     = 512         // results of needs in memory
	absentFor     = time.Minute // how long a definite failure is remembered
	fetchesAtOnce = 16          // for one module graph
)

// modFiles fetches go.mod files and keeps them: they never change.
type modFiles struct {
	dir    string
	disk   disk
	proxy  *gomod.Proxy
	log    *slog.Logger
	flight flight[*gomod.File]
	kept   *lru.Cache[module.Version, modFile]
	needed *lru.Cache[module.Version, *needs]
}

// modFile is a go.mod file, or the definite error that came instead of it.
type modFile struct {
	*gomod.File
	err   error
	until time.Time // of the error
}

func newModFiles(dir string, d disk, p *gomod.Proxy, log *slog.Logger) *modFiles {
	m := &modFiles{dir: dir, disk: d, proxy: p, log: log, flight: flight[*gomod.File]{most: flightMax}}
	m.kept, _ = lru.New[module.Version, modFile](keptMods) // New fails for a size below one only
	m.needed, _ = lru.New[module.Version, *needs](keptNeeds)
	return m
}

// get returns the go.mod file of a module version. Errors are of kind [k6x.NotFound]
// if there is no such version or its go.mod file is of no use, and [k6x.Unavailable]
// otherwise; they satisfy [gomod.Definite] if asking again soon would not help.
func (m *modFiles) get(ctx context.Context, mod module.Version) (*gomod.File, error) {
	if kept, ok := m.kept.Get(mod); ok && (kept.err == nil || time.Now().Before(kept.until)) {
		return kept.File, kept.err
	}
	return m.flight.do(ctx, mod.String(), func(ctx context.Context) (*gomod.File, error) { return m.fetch(ctx, mod) })
}

func (m *modFiles) fetch(ctx context.Context, mod module.Version) (*gomod.File, error) {
	name, err := m.file(mod)
	if err != nil {
		return nil, unavailable(mod.String(), fmt.Errorf("%w: %w", gomod.ErrAbsent, err))
	}
	if data, err := gomod.ReadFile(name, gomod.MaxFile); err == nil {
		if file, err := parseModFile(mod, data); err == nil {
			m.kept.Add(mod, modFile{File: file})
			return file, nil
		}
		m.log.Warn("a go.mod file on disk is of no use", "module", mod.Path, "version", mod.Version)
	}
	data, err := m.proxy.GoMod(ctx, mod)
	var file *gomod.File
	if err == nil {
		file, err = parseModFile(mod, data)
	}
	if err != nil {
		err = unavailable(mod.String(), err)
		if gomod.Definite(err) {
			m.kept.Add(mod, modFile{err: err, until: time.Now().Add(absentFor)})
		}
		return nil, err
	}
	m.kept.Add(mod, modFile{File: file})
	if err := m.disk.write(name, data); err != nil {
		m.log.Warn("a go.mod file cannot be kept on disk", "module", mod.Path, "version", mod.Version, "error", err)
	}
	return file, nil
}

// file returns where the go.mod file of a module version is kept.
func (m *modFiles) file(mod module.Version) (string, error) {
	if err := module.Check(mod.Path, mod.Version); err != nil {
		return "", err
	}
	name, err := gomod.FileName(mod, ".mod")
	return filepath.Join(m.dir, name), err
}

// parseModFile reads the go.mod file of a module version.
func parseModFile(mod module.Version, data []byte) (*gomod.File, error) {
	file, err := gomod.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: its go.mod file is malformed: %w", gomod.ErrAbsent, err)
	}
	if file.Path != mod.Path {
		return nil, fmt.Errorf("%w: its go.mod file is that of another module", gomod.ErrAbsent)
	}
	for _, r := range file.Require {
		if module.CheckPath(r.Path) != nil || !modsemver.IsValid(r.Version) {
			return nil, fmt.Errorf("%w: its go.mod file requires what cannot be", gomod.ErrAbsent)
		}
	}
	return file, nil
}
