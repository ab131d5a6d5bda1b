package resolver

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// needs is what a module version brings into the build list of a main module that
// requires it.
type needs struct {
	goLine string            // the newest go line among its modules
	lowest map[string]string // module path → the lowest version that will do
}

// needs returns what a module version needs, by the go command's rules for pruned
// module graphs (https://go.dev/ref/mod#graph-pruning). Errors are those of fetchFile. Nothing is followed any more when ctx ends.
func (m *modules) needs(ctx context.Context, mod module.Version) (*needs, error) {
	if n, ok := m.followed.Get(mod); ok {
		return n, nil
	}
	file, err := m.files.get(ctx, mod)
	if err != nil {
		return nil, err
	}
	load := gomod.Loader{Read: m.files.get, Limit: gomod.MaxFetched, AtOnce: fetchesAtOnce}
	graph, err := load.Load(ctx, []module.Version{mod})
	if errors.Is(err, gomod.ErrTooLarge) {
		err = unavailable(mod.String(), fmt.Errorf("%w: %w", gomod.ErrAbsent, err))
	}
	if gomod.Definite(err) {
		for _, r := range file.Require {
			by, ok := file.Replaces(r)
			if !ok {
				continue
			}
			if _, err := m.files.get(ctx, r); gomod.Definite(err) {
				return nil, k6x.Errorf(k6x.KindOf(err), "%s needs %s, which cannot be had: %s", mod, r, gomod.Ignored(r, by)).WithCause(err)
			}
		}
		return nil, k6x.Errorf(k6x.KindOf(err), "%s needs a module that cannot be had: %w", mod, err)
	}
	if err != nil {
		return nil, err
	}
	n := &needs{goLine: graph.Go, lowest: graph.Needed}
	m.followed.Add(mod, n)
	return n, nil
}
