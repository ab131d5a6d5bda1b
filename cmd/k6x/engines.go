package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/builder/xk6"
	"k6x/cmd/internal/app"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/egress"
	"k6x/launcher"
	"k6x/resolver"
)

// goTools are the go command of this machine and its surroundings, for an engine that builds with it.
type goTools struct {
	tool     *gotool.Tool
	personal []string // files of the user that fetching may read
	cage     *cage.Cage
	resolver *resolver.Resolver // nil: not opened yet
	closers  []func() error
}

// close releases all that was opened, the last first.
func (t *goTools) close() error {
	var errs []error
	for _, closer := range slices.Backward(t.closers) {
		errs = append(errs, closer())
	}
	return errors.Join(errs...)
}

// openGo finds the go command here, and has its network and its files confined.
func (o *builderOptions) openGo(ctx context.Context, shown *screen) (*goTools, error) {
	personal, env := gotool.Personal()
	tool, err := gotool.Find(ctx, append(env, o.env...), o.direct)
	if err != nil {
		return nil, err
	}
	tool.Personal = true
	confined, err := o.sandbox.Cage()
	if err != nil {
		return nil, err
	}
	if tool.Egress, err = egress.Start(tool.Fetch, shown.logger()); err != nil {
		return nil, err
	}
	shown.tell(true, "sandbox: "+confined.Report().String())
	return &goTools{tool: tool, personal: personal, cage: confined, closers: []func() error{tool.Egress.Close}}, nil
}

// openNative opens the engine that builds with the go command here, and its resolver.
func (o *builderOptions) openNative(ctx context.Context, shown *screen) (_ *goTools, _ *native.Engine, err error) {
	t, err := o.openGo(ctx, shown)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	cfg := native.Config{Tool: t.tool, Cage: t.cage, Personal: t.personal, Dir: app.GoDir(o.cacheDir), Hurried: !o.patient, Logger: shown.logger()}
	if o.buildCache != "" {
		shared, err := app.OpenBuildCache(ctx, app.BuildCacheConfig{
			URL: o.buildCache, ReadOnly: o.reading, CacheDir: o.cacheDir, Logger: shown.logger(),
		})
		if err != nil {
			return nil, nil, fmt.Errorf("--build-cache: %w", err)
		}
		t.closers = append(t.closers, func() error { return shared.Close(o.sendTime()) })
		cfg.BuildCache = shared
	}
	engine, err := native.New(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	t.closers = append(t.closers, engine.Close)
	t.resolver, err = o.resolver(ctx, fetcher{t.tool, engine.Env(), engine.RunFetching}, shown)
	return t, engine, err
}

// native opens a workshop that builds with the go command here.
func (o *builderOptions) native(ctx context.Context, shown *screen) (launcher.Workshop, error) {
	t, engine, err := o.openNative(ctx, shown)
	if err != nil {
		return launcher.Workshop{}, err
	}
	used := &usedEngine{Engine: engine}
	return launcher.Workshop{
		Engine:   used,
		Settings: engine.Settings(), Resolve: resolveWith(t.resolver),
		Close: func() error {
			if used.built {
				engine.Settle(ctx)
				app.TrimGoCaches(ctx, engine, int64(o.goCache), shown.logger())
			}
			return t.close()
		},
	}, nil
}

// xk6 opens a workshop that has an xk6 on PATH build.
func (o *builderOptions) xk6(ctx context.Context, shown *screen) (_ launcher.Workshop, err error) {
	t, err := o.openGo(ctx, shown)
	if err != nil {
		return launcher.Workshop{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	engine, err := xk6.New(ctx, xk6.Config{Tool: t.tool, Cage: t.cage, Personal: t.personal, Dir: app.GoDir(o.cacheDir), Logger: shown.logger()})
	if err != nil {
		return launcher.Workshop{}, err
	}
	t.closers = append(t.closers, engine.Close)
	r, err := o.resolver(ctx, fetcher{t.tool, engine.Env(), engine.RunFetching}, shown)
	if err != nil {
		return launcher.Workshop{}, err
	}
	return launcher.Workshop{Engine: engine, Settings: engine.Settings(), Resolve: resolveWith(r), Close: t.close}, nil
}

// usedEngine is an engine that knows whether it has built anything.
type usedEngine struct {
	builder.Engine
	built bool
}

func (u *usedEngine) Build(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	u.built = true
	return u.Engine.Build(ctx, job, report, w)
}
