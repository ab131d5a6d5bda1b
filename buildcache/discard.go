package buildcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Scopes returns the scopes that a far level has something of, sorted.
func Scopes(ctx context.Context, far Store) ([]string, error) {
	names, err := far.List(ctx, indexDir)
	if err != nil {
		return nil, err
	}
	var scopes []string
	for _, name := range names {
		if parts := indexNames.FindStringSubmatch(name); parts != nil {
			scopes = append(scopes, parts[1])
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}

// Discard removes a scope from a far level, such as that of a toolchain that is not used any more. In a registry it
// removes the tags; the space is free when the registry has collected its garbage. Builds that use the scope meanwhile
// compile what they miss.
func Discard(ctx context.Context, far Store, scope string) error {
	names, err := far.List(ctx, indexPrefix(scope))
	if err != nil {
		return err
	}
	packs := make(map[ID]bool)
	for _, name := range names {
		if !isIndex(scope, name) {
			continue
		}
		if x, err := loadIndex(ctx, far, name); err == nil { // what a damaged one has cannot be known
			for _, p := range x.Packs {
				packs[p.ID] = true
			}
		}
		if err := far.Remove(ctx, name); err != nil {
			return fmt.Errorf("removing an index of %s: %w", scope, err)
		}
	}
	if _, ok := far.(*registry); ok {
		return nil
	}
	for id := range packs {
		err = errors.Join(err, far.Remove(ctx, packName(id)))
	}
	return err
}
