package launcher

import (
	"context"

	"k6x"
)

// Filtered is a Source that gives only lists that Permit allows.
type Filtered struct {
	Source
	Permit func(ctx context.Context, list k6x.List) error
}

// Resolve asks Permit first.
func (f *Filtered) Resolve(ctx context.Context, platform k6x.Platform, list k6x.List) (k6x.List, error) {
	if err := f.Permit(ctx, list); err != nil {
		return nil, err
	}
	return f.Source.Resolve(ctx, platform, list)
}
