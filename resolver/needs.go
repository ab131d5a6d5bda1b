package resolver

import (
	"context"
	"fmt"
	"go/version"
	"sync"

	"golang.org/x/mod/module"
	modsemver "golang.org/x/mod/semver"
	"golang.org/x/sync/errgroup"

	"k6x"
)

// maxGraph bounds the modules of a graph that is not pruned.
const maxGraph = 4000

// needs is what a module version brings into the build list of a main module that
// requires it.
type needs struct {
	goLine string            // the newest go line among its modules
	lowest map[string]string // module path → the lowest version that will do
}

// needs returns what a module version needs, by the go command's rules for pruned
// module graphs (https://go.dev/ref/mod#graph-pruning): with a go line of 1.17 or higher
// what its own go.mod file requires, else what all modules that it reaches require.
// Errors are those of get.
func (m *modFiles) needs(ctx context.Context, mod module.Version) (*needs, error) {
	if n, ok := m.needed.Get(mod); ok {
		return n, nil
	}
	file, err := m.get(ctx, mod)
	if err != nil {
		return nil, err
	}
	n := &needs{lowest: make(map[string]string, len(file.requires))}
	n.add(file)
	if version.Compare("go"+file.goLine, "go1.17") < 0 {
		if err := m.closure(ctx, n, file.requires); err != nil {
			if definite(err) {
				return nil, k6x.Errorf(k6x.KindOf(err), "%s needs a module that cannot be had: %w", mod, err)
			}
			return nil, err
		}
	}
	m.needed.Add(mod, n)
	return n, nil
}

func (n *needs) add(file *modFile) {
	if n.goLine == "" || version.Compare("go"+file.goLine, "go"+n.goLine) > 0 {
		n.goLine = file.goLine
	}
	for _, r := range file.requires {
		if have, ok := n.lowest[r.Path]; !ok || modsemver.Compare(r.Version, have) > 0 {
			n.lowest[r.Path] = r.Version
		}
	}
}

// closure adds what the modules in todo and all that they reach require.
func (m *modFiles) closure(ctx context.Context, n *needs, todo []module.Version) error {
	seen := make(map[module.Version]bool)
	for len(todo) > 0 {
		var (
			mu   sync.Mutex // guards n and next
			next []module.Version
		)
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(fetchesAtOnce)
		for _, mod := range todo {
			if seen[mod] {
				continue
			}
			if seen[mod] = true; len(seen) > maxGraph {
				_ = group.Wait()
				return unavailable(mod.String(), fmt.Errorf("%w: %w", errAbsent, errTooLarge))
			}
			group.Go(func() error {
				file, err := m.get(ctx, mod)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				n.add(file)
				next = append(next, file.requires...)
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		todo = next
	}
	return nil
}
