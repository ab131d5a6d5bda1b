package buildcache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
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

// Trim makes a far level smaller than limit bytes of packs by discarding scopes, first those that nobody wrote to for
// longest: those of toolchains and platforms that are not used any more. What a build uses meanwhile, it compiles. In a bucket, packs
// that no index knows are removed as well, such as those of builds that died; in a registry, its garbage collection does that.
func Trim(ctx context.Context, far Store, limit int64) (Trimmed, error) {
	var t Trimmed
	_, collects := far.(*registry)
	var stored []string
	if !collects { // before the indexes, so that a pack whose index comes meanwhile is not among the rest
		var err error
		if stored, err = far.List(ctx, packDir); err != nil {
			return t, err
		}
	}
	scopes, err := usages(ctx, far)
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
		if limit > 0 && size > limit {
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
	for _, name := range stored {
		id, err := ParseID(strings.TrimPrefix(name, packDir))
		if err != nil || known[id] {
			continue
		}
		if err := far.Remove(ctx, name); err != nil {
			return t, err
		}
		t.Orphans++
	}
	return t, nil
}

// usages returns what each scope has.
func usages(ctx context.Context, far Store) ([]*usage, error) {
	names, err := far.List(ctx, indexDir)
	if err != nil {
		return nil, err
	}
	var all []*usage
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
		if errors.Is(err, errOther) { // damaged, so that nobody uses what it has
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			for _, p := range x.Packs {
				u.packs[p.ID] = p.Size
			}
		}
	}
	return all, nil
}
