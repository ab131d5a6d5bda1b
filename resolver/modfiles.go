package resolver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"
)

const (
	keptMods      = 2048        // parsed go.mod files in memory
	keptNeeds     = 512         // results of needs in memory
	absentFor     = time.Minute // how long a definite failure is remembered
	fetchesAtOnce = 16          // for one module graph
)

// modFile is what matters of one go.mod file.
type modFile struct {
	goLine   string           // such as 1.24.0
	requires []module.Version // as they stand there
	retracts []modfile.VersionInterval
}

// modFiles fetches go.mod files and keeps them: they never change.
type modFiles struct {
	dir     string
	disk    disk
	proxy   *proxy
	log     *slog.Logger
	flight  flight[*modFile]
	kept    *lru.Cache[module.Version, *modFile]
	missing *lru.Cache[module.Version, missing]
	needed  *lru.Cache[module.Version, *needs]
}

type missing struct {
	err   error
	until time.Time
}

func newModFiles(dir string, d disk, p *proxy, log *slog.Logger) *modFiles {
	m := &modFiles{dir: dir, disk: d, proxy: p, log: log, flight: flight[*modFile]{most: flightMax}}
	m.kept, _ = lru.New[module.Version, *modFile](keptMods) // New fails for a size below one only
	m.missing, _ = lru.New[module.Version, missing](keptMods)
	m.needed, _ = lru.New[module.Version, *needs](keptNeeds)
	return m
}

// get returns the go.mod file of a module version. Errors are of kind [k6x.NotFound]
// if there is no such version or its go.mod file is of no use, and [k6x.Unavailable]
// otherwise; they satisfy definite if asking again soon would not help.
func (m *modFiles) get(ctx context.Context, mod module.Version) (*modFile, error) {
	if file, ok := m.kept.Get(mod); ok {
		return file, nil
	}
	if miss, ok := m.missing.Get(mod); ok && time.Now().Before(miss.until) {
		return nil, miss.err
	}
	return m.flight.do(ctx, mod.String(), func(ctx context.Context) (*modFile, error) { return m.fetch(ctx, mod) })
}

func (m *modFiles) fetch(ctx context.Context, mod module.Version) (*modFile, error) {
	name, err := m.file(mod)
	if err != nil {
		return nil, unavailable(mod.String(), fmt.Errorf("%w: %w", errAbsent, err))
	}
	if data, err := readFile(name, maxGoMod); err == nil {
		if file, err := parseModFile(mod, data); err == nil {
			m.kept.Add(mod, file)
			return file, nil
		}
		m.log.Warn("a go.mod file on disk is of no use", "module", mod.Path, "version", mod.Version)
	}
	data, err := m.proxy.goMod(ctx, mod.Path, mod.Version)
	var file *modFile
	if err == nil {
		file, err = parseModFile(mod, data)
	}
	if err != nil {
		err = unavailable(mod.String(), err)
		if definite(err) {
			m.missing.Add(mod, missing{err, time.Now().Add(absentFor)})
		}
		return nil, err
	}
	m.kept.Add(mod, file)
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
	modulePath, err := module.EscapePath(mod.Path)
	if err != nil {
		return "", err
	}
	version, err := module.EscapeVersion(mod.Version)
	if err != nil {
		return "", err
	}
	return filepath.Join(m.dir, filepath.FromSlash(modulePath), "@v", version+".mod"), nil
}

// parseModFile reads the go.mod file of a dependency as the go command does.
func parseModFile(mod module.Version, data []byte) (*modFile, error) {
	f, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: its go.mod file is malformed: %w", errAbsent, err)
	}
	if f.Module == nil || f.Module.Mod.Path != mod.Path {
		return nil, fmt.Errorf("%w: its go.mod file is that of another module", errAbsent)
	}
	file := &modFile{goLine: "1.16"} // what the go command takes it for without a go line
	if f.Go != nil {
		file.goLine = strings.Clone(f.Go.Version)
	}
	for _, r := range f.Require {
		if module.CheckPath(r.Mod.Path) != nil || !modsemver.IsValid(r.Mod.Version) {
			return nil, fmt.Errorf("%w: its go.mod file requires what cannot be", errAbsent)
		}
		// Cloned, so that what is kept does not hold the whole file in memory.
		file.requires = append(file.requires, module.Version{
			Path: strings.Clone(r.Mod.Path), Version: strings.Clone(r.Mod.Version)})
	}
	for _, r := range f.Retract {
		file.retracts = append(file.retracts, r.VersionInterval)
	}
	return file, nil
}

// retracted reports whether the file retracts a version of its module.
func (f *modFile) retracted(version string) bool {
	for _, r := range f.retracts {
		if modsemver.Compare(r.Low, version) <= 0 && modsemver.Compare(version, r.High) <= 0 {
			return true
		}
	}
	return false
}

var errTooLarge = errors.New("its module graph is too large")
