package binaries

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/semver"

	"k6x"
)

// maxEntries bounds how many entries are looked at.
const maxEntries = 4096

// Find returns the best binary for the platform that has the dependencies of list and nothing else: of
// those that start the one with the newest versions, of k6 first and then of the others in the order of the list. A list
// without k6 means any release of it. Entries that cannot be read are passed over.
func (d *Dir) Find(ctx context.Context, platform k6x.Platform, list k6x.List) (Binary, bool) {
	return d.FindAny(ctx, platform, list, func(b Binary) bool { return !hasMore(b, list) })
}

// FindAny is [Dir.Find] among all binaries that have the dependencies of list, whatever else they have. The best one that may be used is
// returned; of equals, the one used last.
func (d *Dir) FindAny(ctx context.Context, platform k6x.Platform, list k6x.List, may func(Binary) bool) (Binary, bool) {
	all, err := d.Binaries(ctx)
	if err != nil {
		d.cfg.Logger.Warn("kept binaries cannot be looked at", "dir", d.cfg.Dir, "error", err)
		return Binary{}, false
	}
	all = slices.DeleteFunc(all, func(b Binary) bool { return b.Platform != platform || !satisfies(b, list) })
	slices.SortFunc(all, func(b, a Binary) int {
		if a.Fails != b.Fails {
			if a.Fails {
				return -1
			}
			return 1
		}
		if n := semver.Compare(a.Versions[k6x.K6], b.Versions[k6x.K6]); n != 0 {
			return n
		}
		for _, dep := range list {
			if n := semver.Compare(a.Versions[dep.Name], b.Versions[dep.Name]); n != 0 {
				return n
			}
		}
		return a.Used.Compare(b.Used)
	})
	if i := slices.IndexFunc(all, may); i >= 0 {
		return all[i], true
	}
	return Binary{}, false
}

// hasMore reports whether a binary has something that list does not name.
func hasMore(b Binary, list k6x.List) bool {
	for name := range b.Versions {
		if _, asked := list.Lookup(name); !asked && name != k6x.K6 {
			return true
		}
	}
	return false
}

// satisfies reports whether a binary has all dependencies of list.
func satisfies(b Binary, list k6x.List) bool {
	if _, asked := list.Lookup(k6x.K6); !asked && !(k6x.Constraint{}).Allows(b.Versions[k6x.K6]) {
		return false
	}
	for _, dep := range list {
		if version, ok := b.Versions[dep.Name]; !ok || !dep.Constraint.Allows(version) {
			return false
		}
	}
	return true
}

// Binaries returns all binaries whose records can be read, those used last first. Whether their bytes are
// right is for [Dir.Use] to check.
func (d *Dir) Binaries(ctx context.Context) ([]Binary, error) {
	entries, err := d.entries(ctx)
	var all []Binary
	for _, e := range entries {
		if e.readable {
			all = append(all, e.Binary)
		}
	}
	return all, err
}

// entry is a directory with the name of a binary, readable or not.
type entry struct {
	Binary
	readable bool // else Binary has no more than its id
}

// entries returns all entries, those used last first and those that cannot be read last; none if there is no directory.
func (d *Dir) entries(ctx context.Context) ([]entry, error) {
	ids, err := d.ids()
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	secret, err := d.secret()
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, id := range ids {
		if ctx.Err() != nil {
			return nil, k6x.CanceledBy(ctx)
		}
		b, err := d.read(id, secret)
		b.id = id
		all = append(all, entry{b, err == nil})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return b.Used.Compare(a.Used) })
	return all, nil
}

// ids returns the ids of all entries; none if there is no directory.
func (d *Dir) ids() (ids []string, err error) {
	names, err := os.ReadDir(d.cfg.Dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	for _, name := range names {
		if match := homeSyntax.FindStringSubmatch(name.Name()); match != nil && len(ids) < maxEntries {
			ids = append(ids, match[1])
		}
	}
	return ids, fault(err)
}

// At returns the configuration of a directory, which --bin-dir or K6X_BIN_DIR may name; else it
// is .k6x in the working directory if that exists ("": that of this process), else one below the cache directory.
//
// A .k6x may have come with a project of another author, binaries and records and all.
// So those in it are used only if this user's launcher added them: their records
// are sealed with a secret below the cache directory, also if it is named.
func At(binDir, workDir, cacheDir string) Config {
	const folder = ".k6x"
	if binDir != "" && filepath.Clean(binDir) != folder {
		return Config{Dir: binDir}
	}
	local := filepath.Join(workDir, folder)
	if info, err := os.Stat(local); binDir != "" || err == nil && info.IsDir() {
		return Config{Dir: local, Secret: filepath.Join(cacheDir, "secret")}
	}
	return Config{Dir: filepath.Join(cacheDir, "bin")}
}

// Nearest returns the binary for the platform that has most in common with a pinned list: the same k6, and then the most extensions in the same
// version.
func (d *Dir) Nearest(ctx context.Context, platform k6x.Platform, pinned k6x.List) (nearest Binary, ok bool) {
	all, err := d.Binaries(ctx)
	if err != nil {
		return Binary{}, false
	}
	most := 0
	for _, b := range all { // those used last first
		common := 0
		for _, dep := range pinned {
			if b.Versions[dep.Name] != dep.Constraint.Version() {
				continue
			}
			if common++; dep.Name == k6x.K6 {
				common += len(pinned)
			}
		}
		if b.Platform == platform && common > most {
			nearest, most = b, common
		}
	}
	return nearest, most > 0
}
