package main

import (
	"context"
	"errors"

	"k6x/builder/xk6"
	"k6x/cmd/internal/app"
	"k6x/gotool"
	"k6x/internal/egress"
	"k6x/launcher"
)

// xk6 makes what is needed to have an xk6 on PATH build.
func (o *builderOptions) xk6(ctx context.Context, shown *screen) (launcher.Workshop, error) {
	personal, env := gotool.Personal()
	tool, err := gotool.Find(ctx, append(env, o.env...), o.direct)
	if err != nil {
		return launcher.Workshop{}, err
	}
	c, err := o.sandbox.Cage()
	if err != nil {
		return launcher.Workshop{}, err
	}
	shown.tell(true, "sandbox: "+c.Report().String())
	engine, err := xk6.New(ctx, xk6.Config{Tool: tool, Cage: c, Personal: personal, Dir: app.GoDir(o.cacheDir), Logger: shown.logger()})
	if err != nil {
		return launcher.Workshop{}, err
	}
	release := func() error { return errors.Join(engine.Close(), tool.Egress.Close()) }
	tool.Personal = true
	if tool.Egress, err = egress.Start(tool.Fetch, shown.logger()); err != nil {
		return launcher.Workshop{}, errors.Join(err, release())
	}
	r, err := o.resolver(ctx, fetcher{tool, engine.Env(), engine.RunFetching}, shown)
	if err != nil {
		return launcher.Workshop{}, errors.Join(err, release())
	}
	return launcher.Workshop{Engine: engine, Settings: engine.Settings(), Resolve: resolveWith(r), Close: release}, nil
}
