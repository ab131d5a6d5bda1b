package buildcache

import (
	"context"
	"errors"
	"fmt"
)

// discard removes a scope from a far level, but for the packs that others need. In a registry it
// removes the tags; the space is free when the registry has collected its garbage.
func discard(ctx context.Context, far Store, scope string, needed map[ID]bool) error {
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
		if needed[id] {
			continue
		}
		err = errors.Join(err, far.Remove(ctx, packName(id)))
	}
	return err
}
