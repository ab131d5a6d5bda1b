package buildcache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// Trimmed says what [Trim] found and did.
type Trimmed struct {
	Kept      []string // scopes, those that were written to last first
	Discarded []string // scopes
	Bytes     int64    // of the packs that stay
	Orphans   int      // packs that no index knew, which are gone
}

// usage is what a scope has in a far level.
type usage struct {
	scope  string
	newest string // name of an index, which sorts by time
	packs  map[ID]int64
}

// orphanAge is how old a pack that no index knows has to be to be removed: that of a build under way is to come.
const orphanAge = 24 * time.Hour

// lister is a far level that can tell which objects are old. A registry has a garbage collection of its own.
type lister interface {
	// listOlder passes the names that begin with prefix, of objects that were last written before a time, to each.
	listOlder(ctx context.Context, prefix string, before time.Time, each func(name string)) error
}

// Trim makes a far level smaller than limit bytes of packs, unless that is 0, by discarding scopes, first those that were not written to for
// longest: those of toolchains and platforms that are not used any more. What a build uses meanwhile, it compiles. In a bucket, packs
// that no index knows are removed as well when they are a day old, such as those of builds that died.
func Trim(ctx context.Context, far Store, limit int64) (Trimmed, error) {
	return trim(ctx, far, limit, time.Now().Add(-orphanAge))
}

func trim(ctx context.Context, far Store, limit int64, before time.Time) (Trimmed, error) {
	var t Trimmed
	scopes, complete, err := usages(ctx, far)
	if err != nil {
		return t, err
	}
	slices.SortFunc(scopes, func(a, b *usage) int { return cmp.Compare(b.newest, a.newest) })
	known := make(map[ID]bool)
	for _, u := range scopes {
		size := t.Bytes
		for id, n := range u.packs {
			if !known[id] {
				size += n
			}
		}
		if limit > 0 && (size > limit || t.Discarded != nil) {
			t.Discarded = append(t.Discarded, u.scope)
			continue
		}
		for id := range u.packs {
			known[id] = true
		}
		t.Bytes = size
		t.Kept = append(t.Kept, u.scope)
	}
	for _, scope := range t.Discarded {
		if err := discard(ctx, far, scope, known); err != nil {
			return t, err
		}
	}
	old, ok := far.(lister)
	if !ok || !complete {
		return t, nil
	}
	var orphans []string
	err = old.listOlder(ctx, packDir, before, func(name string) {
		if id, err := ParseID(strings.TrimPrefix(name, packDir)); err == nil && !known[id] {
			orphans = append(orphans, name)
		}
	})
	for _, name := range orphans {
		if err == nil {
			err = far.Remove(ctx, name)
			t.Orphans++
		}
	}
	return t, err
}

// usages returns what each scope has. It is complete unless there is an index that cannot be read, such as one of a later k6x.
func usages(ctx context.Context, far Store) (all []*usage, complete bool, err error) {
	names, err := far.List(ctx, indexDir)
	if err != nil {
		return nil, false, err
	}
	complete = true
	slices.Sort(names)
	for _, name := range names {
		parts := indexNames.FindStringSubmatch(name)
		if parts == nil {
			continue
		}
		if len(all) == 0 || all[len(all)-1].scope != parts[1] {
			all = append(all, &usage{scope: parts[1], packs: make(map[ID]int64)})
		}
		u := all[len(all)-1]
		u.newest = strings.TrimPrefix(name, indexPrefix(u.scope))
		x, err := loadIndex(ctx, far, name)
		if errors.Is(err, errOther) {
			complete = false
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
		if err == nil {
			for _, p := range x.Packs {
				u.packs[p.ID] = p.Size
			}
		}
	}
	return all, complete, nil
}
