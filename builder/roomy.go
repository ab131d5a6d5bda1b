package builder

import (
	"context"

	"k6x"
)

// Roomy returns a builder that tries once more what next could not do as a disk was full, whichever step of it met that. Before, makeRoom
// removes what can be made again from the disk; it reports whether there was something.
func Roomy(next Builder, makeRoom func(ctx context.Context, full error) bool) Builder {
	return &roomy{next, makeRoom}
}

type roomy struct {
	next     Builder
	makeRoom func(ctx context.Context, full error) bool
}

// Build implements [Builder].
func (r *roomy) Build(ctx context.Context, job Job) (k6x.Artifact, error) {
	artifact, err := r.next.Build(ctx, job)
	if k6x.KindOf(err) == k6x.NoSpace && ctx.Err() == nil && r.makeRoom(ctx, err) {
		return r.next.Build(ctx, job)
	}
	return artifact, err
}
