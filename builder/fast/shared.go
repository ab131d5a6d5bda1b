package fast

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb/dirhash"

	"k6x/internal/gomod"
)

// maxShared bounds an index in the shared build cache, in bytes: of one k6 it has 400 kB.
const maxShared = 16 << 20

// sharedName is what the index is called in the shared build cache.
func (i *index) sharedName() string { return "kits/" + filepath.Base(i.file) }

// goMod returns the go.mod of a module version if it is in the index; nil if it is not, or makes no sense. The caller holds i.mu.
func (i *index) goMod(m module.Version) *gomod.File {
	f, ok := i.parsed[m]
	if text, there := i.GoMods[m.String()]; there && !ok {
		f, _ = gomod.Parse([]byte(text))
		if i.parsed == nil {
			i.parsed = make(map[module.Version]*gomod.File)
		}
		i.parsed[m] = f
	}
	return f
}

// addFacts adds what a plan found out about modules that are here: others need that who do not have them. The caller holds i.mu.
func (i *index) addFacts(p *plan, mods *gomod.Cache) {
	for _, key := range p.lacking {
		i.Lacks[key] = true
	}
	for m := range p.goMods {
		if text, err := mods.GoModText(m); err == nil && len(text) <= maxGoMods {
			i.GoMods[m.String()] = string(text)
		}
	}
}

// adopt adds what the shared build cache knows to an index, and reports whether that is news. Those who write there decide what is linked
// here, as they do by each package that they have compiled. Sums of theirs are not believed against what the go command has found here.
func (e *Engine) adopt(ctx context.Context, b *build, x *index) bool {
	text, err := b.ws.Shared(ctx).Load(ctx, x.sharedName())
	if err != nil {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	digest := sha256.Sum256(text)
	if digest == x.adopted {
		return false
	}
	x.adopted = digest
	adopted, err := parseShared(text)
	if err == nil {
		err = errors.Join(contradiction(x.GoSum, adopted.GoSum), e.checkSums(adopted.Sums))
	}
	if err != nil {
		e.log.Warn("the package index of the shared build cache is of no use", "error", err)
		return false
	}
	adopted.add(x.indexData)
	adopted.Proven, adopted.Shared = true, true // it was proven where it was made
	x.indexData, x.parsed = adopted, nil
	if err := x.save(); err != nil {
		e.log.Warn("a package index cannot be kept", "error", err)
	}
	return true
}

// publish adds what an index knows to that of the shared build cache, but for what is refuted.
func (e *Engine) publish(ctx context.Context, b *build, x *index) error {
	refuted, err := e.indexes.readRefuted()
	if err != nil {
		return err
	}
	err = b.ws.Shared(ctx).Update(ctx, x.sharedName(), func(old []byte) ([]byte, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		all, err := parseShared(old)
		if err != nil || contradiction(x.GoSum, all.GoSum) != nil {
			all = newIndexData()
		}
		all.add(x.indexData)
		maps.DeleteFunc(all.Packages, func(key string, _ []string) bool {
			_, m, _ := strings.Cut(key, " ")
			return refuted.has(m)
		})
		all.Proven = true
		text, err := json.Marshal(all)
		if len(text) > maxShared {
			err = fmt.Errorf("it has %d bytes", len(text))
		}
		return text, err
	})
	if err != nil {
		return fmt.Errorf("the package index is not shared: %w", err)
	}
	return nil
}

// checkSums compares hashes of modules with those that the go command has found here.
func (e *Engine) checkSums(sums map[string]string) error {
	for name, sum := range sums {
		if known := e.mods.Sum(gomod.ParseVersion(name)); known != "" && known != sum {
			return fmt.Errorf("%s has other files here", name)
		}
	}
	return nil
}

// contradiction returns an error if two go.sum texts have different hashes of the same thing.
func contradiction(a, b string) error {
	_, err := hashesOf(a + b)
	return err
}

// sumLines are those of a go.sum.
var sumLines = regexp.MustCompile(`^(\S+ \S+) (h1:[A-Za-z0-9+/]{43}=)\n$`)

// hashesOf returns the hashes in a go.sum by what they are of: "path version" or "path version/go.mod".
func hashesOf(goSum string) (map[string]string, error) {
	hashes := make(map[string]string)
	for line := range strings.Lines(goSum) {
		parts := sumLines.FindStringSubmatch(line)
		if parts == nil {
			return nil, fmt.Errorf("%.100q is no line of a go.sum", line)
		}
		if known, ok := hashes[parts[1]]; ok && known != parts[2] {
			return nil, fmt.Errorf("%s has two hashes, %s and %s", parts[1], known, parts[2])
		}
		hashes[parts[1]] = parts[2]
	}
	return hashes, nil
}

// outputFiles are the names of what was compiled in the build cache, which are those of its digest.
var outputFiles = regexp.MustCompile(`^([0-9a-f]{2})/([0-9a-f]{2})[0-9a-f]{62}-d$`)

// parseShared reads an index of the shared build cache. It has to be one that a machine without any module can use, within bounds, and go.mod files
// and hashes of modules have to be those of its go.sum.
func parseShared(text []byte) (indexData, error) {
	i := newIndexData()
	if len(text) > maxShared {
		return i, fmt.Errorf("it has %d bytes", len(text))
	}
	if err := json.Unmarshal(text, &i); err != nil {
		return i, err
	}
	if !i.Proven || !i.complete() || len(i.Packages) > maxPackages || len(i.Archives) > maxPackages || len(i.Std) > maxPackages {
		return i, errors.New("it is not proven, not complete or too large")
	}
	hashes, err := hashesOf(i.GoSum)
	if err != nil {
		return i, err
	}
	for name, sum := range i.Sums {
		m := gomod.ParseVersion(name)
		if err := module.Check(m.Path, m.Version); err != nil {
			return i, err
		}
		if hashes[m.Path+" "+m.Version] != sum {
			return i, fmt.Errorf("%s has another hash than its go.sum says", m)
		}
	}
	for name, text := range i.GoMods {
		m := gomod.ParseVersion(name)
		sum, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
		if err != nil || hashes[m.Path+" "+m.Version+"/go.mod"] != sum {
			return i, fmt.Errorf("the go.mod of %.100q is not that of its go.sum", name)
		}
	}
	var paths []string
	for key, imports := range i.Packages {
		path, _, _ := strings.Cut(key, " ")
		paths = append(append(paths, path), imports...)
	}
	for _, path := range slices.AppendSeq(paths, maps.Keys(i.Std)) {
		if err := module.CheckImportPath(path); err != nil {
			return i, err
		}
	}
	for _, a := range slices.AppendSeq(slices.Collect(maps.Values(i.Std)), maps.Values(i.Archives)) {
		if err := a.check(); err != nil {
			return i, err
		}
	}
	return i, nil
}

// check returns an error unless the archive is named as the go command names what it compiles.
func (a archive) check() error {
	parts := outputFiles.FindStringSubmatch(a.File)
	if parts == nil || parts[1] != parts[2] || a.Size < 0 {
		return fmt.Errorf("%.100q is not the name of what was compiled", a.File)
	}
	return nil
}
