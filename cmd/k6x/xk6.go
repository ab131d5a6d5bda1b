package main

import (
	"context"

	"k6x"
	"k6x/launcher"
)

func (o *builderOptions) xk6(ctx context.Context, shown *screen) (launcher.Workshop, error) {
	return launcher.Workshop{}, k6x.Errorf(k6x.Unavailable, "soon")
}
