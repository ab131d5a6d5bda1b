package builder

import (
	"context"
	"errors"
)

// ErrDiffers is the error, for errors.Is, of a rebuild that gave other bytes than those
// that are kept. The artifact that comes with it is the kept one, which stays.
var ErrDiffers = errors.New("building it again gives other bytes than those that are kept")

type rebuildKey struct{}

// WithRebuild returns a ctx whose builds run although the binary is there: [Keep] builds it
// again and compares; nothing that is kept changes. A remembered failure is passed over. What
// is not there is built as ever.
func WithRebuild(ctx context.Context) context.Context {
	return context.WithValue(ctx, rebuildKey{}, true)
}

// Rebuild reports whether builds of ctx run although the binary is there.
func Rebuild(ctx context.Context) bool {
	rebuild, _ := ctx.Value(rebuildKey{}).(bool)
	return rebuild
}
