package main

import (
	"context"
	"errors"
	"os"

	"k6x/builder/xk6"
	"k6x/cmd/internal/app"
	"k6x/gotool"
	"k6x/launcher"
)

// xk6 makes what is needed to have an xk6 on PATH build.
func (o *builderOptions) xk6(ctx context.Context, shown *screen) (launcher.Workshop, error) {
	personal, env := gotool.Personal()
	tool, err := gotool.Find(ctx, append(env, o.env...))
	if err != nil {
		return launcher.Workshop{}, err
	}
	c, err := o.sandbox.Cage()
	if err != nil {
		return launcher.Workshop{}, err
	}
	engine, err := xk6.New(ctx, xk6.Config{Tool: tool, Cage: c, Personal: personal, Dir: app.GoDir(o.cacheDir), Logger: shown.logger()})
	if err != nil {
		return launcher.Workshop{}, err
	}
	r, err := o.resolver(ctx, tool.Path, tool.Version, append(os.Environ(), o.env...), shown)
	if err != nil {
		return launcher.Workshop{}, errors.Join(err, engine.Close())
	}
	return launcher.Workshop{Engine: engine, Settings: engine.Settings(), Resolve: resolveWith(r), Close: engine.Close}, nil
}
