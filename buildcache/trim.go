package buildcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"
)

// Trimmed is the outcome of [Trim].
type Trimmed struct {
	Kept      []string // scopes, those that were written to last first
	Discarded []string // scopes
	Bytes     int64    // of the packs that stay
	Orphans   int      // packs that no index knew, which are gone
}

// usage is the part of a remote level that belongs to a scope.
type usage struct {
	scope   string
	indexes []string // names, the newest last
	packs   map[ID]int64
}

// orphanAge is how old a pack that no index knows has to be to be removed: that of a build under way is to come.
const orphanAge = 24 * time.Hour

// Has reports whether a remote level is known to have anything of a scope.
func Has(ctx context.Context, remote Store, scope string) bool {
	for _, err := range remote.List(ctx, indexPrefix(scope)) {
		return err == nil
	}
	return false
}

// Trim makes a remote level smaller than limit bytes of packs, unless that is 0, by discarding scopes, first those that were not written to for
// longest: those of toolchains and platforms that are not used any more. A build that misses packages meanwhile compiles them. In a bucket, packs
// that no index knows are removed as well when they are a day old, such as those of builds that died. A registry has a garbage collection of its
// own for packs, which frees the space.
func Trim(ctx context.Context, remote Store, limit int64) (Trimmed, error) {
	return trim(ctx, remote, limit, time.Now().Add(-orphanAge))
}

func trim(ctx context.Context, remote Store, limit int64, before time.Time) (Trimmed, error) {
	var t Trimmed
	scopes, complete, err := usages(ctx, remote)
	if err != nil {
		return t, err
	}
	known := make(map[ID]bool)
	var unwanted []*usage
	for _, u := range scopes {
		size := t.Bytes
		for id, n := range u.packs {
			if !known[id] {
				size += n
			}
		}
		if limit > 0 && (size > limit || unwanted != nil) {
			t.Discarded = append(t.Discarded, u.scope)
			unwanted = append(unwanted, u)
			continue
		}
		for id := range u.packs {
			known[id] = true
		}
		t.Bytes = size
		t.Kept = append(t.Kept, u.scope)
	}
	for _, u := range unwanted {
		if err := discard(ctx, remote, u, known); err != nil {
			return t, err
		}
	}
	if !complete {
		return t, nil
	}
	var orphans []string
	for info, err := range remote.List(ctx, packDir) {
		if err != nil {
			return t, err
		}
		id, err := ParseID(strings.TrimPrefix(info.Name, packDir))
		if err == nil && !known[id] && info.ModTime.Before(before) {
			orphans = append(orphans, info.Name)
		}
	}
	for _, name := range orphans {
		if err := remote.Delete(ctx, name); err != nil {
			return t, err
		}
		t.Orphans++
	}
	return t, nil
}

// discard removes a scope from a remote level, but for the packs that others need.
func discard(ctx context.Context, remote Store, u *usage, needed map[ID]bool) (err error) {
	for _, name := range u.indexes {
		if err := remote.Delete(ctx, name); err != nil {
			return fmt.Errorf("removing an index of %s: %w", u.scope, err)
		}
	}
	for id := range u.packs {
		if !needed[id] {
			err = errors.Join(err, remote.Delete(ctx, packName(id)))
		}
	}
	return err
}

// usages returns the usage of each scope, those that were written to last first. It is complete unless there is an index that cannot be
// read, such as one of a later k6x.
func usages(ctx context.Context, remote Store) (_ []*usage, complete bool, err error) {
	names, err := listNames(ctx, remote, indexDir)
	if err != nil {
		return nil, false, err
	}
	complete = true
	slices.Sort(names)
	all := make(map[string]*usage)
	for _, name := range names {
		parts := indexNames.FindStringSubmatch(name)
		if parts == nil {
			continue
		}
		u := all[parts[1]]
		if u == nil {
			u = &usage{scope: parts[1], packs: make(map[ID]int64)}
			all[u.scope] = u
		}
		u.indexes = append(u.indexes, name)
		x, err := loadIndex(ctx, remote, name)
		switch {
		case errors.Is(err, errOther):
			complete = false
		case errors.Is(err, fs.ErrNotExist): // merged since it was listed
		case err != nil:
			return nil, false, err
		default:
			for _, p := range x.Packs {
				u.packs[p.ID] = p.Size
			}
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *usage) int {
		return cmp.Compare(b.newest(), a.newest())
	}), complete, nil
}

// newest returns the end of the name of the newest index, by which usages sort by time.
func (u *usage) newest() string {
	return strings.TrimPrefix(u.indexes[len(u.indexes)-1], indexPrefix(u.scope))
}
