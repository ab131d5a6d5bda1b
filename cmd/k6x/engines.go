package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"k6x/builder/container"
	"k6x/builder/fast"
	"k6x/builder/native"
	"k6x/builder/xk6"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/gotool"
	"k6x/internal/egress"
	"k6x/launcher"
	"k6x/resolver"
)

// openGo finds the go command here, and has its network and its files confined.
func (o *builderOptions) openGo(ctx context.Context, shown *screen) (*app.Tools, error) {
	t, err := app.OpenTools(ctx, app.ToolsConfig{Env: o.Env, Direct: o.Direct, Sandbox: o.Sandbox, Personal: true, Logger: shown.logger()})
	if err == nil {
		shown.print(true, "sandbox: "+t.Cage.Report().String())
	}
	return t, cli.WrongUsage(err)
}

// openNative opens the engine that builds with the go command here, and its resolver.
func (o *builderOptions) openNative(ctx context.Context, shown *screen) (_ *app.Tools, _ *native.Engine, _ *resolver.Resolver, err error) {
	t, err := o.openGo(ctx, shown)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	engine, err := t.OpenNative(ctx, native.Config{},
		app.BuildCacheConfig{URL: o.buildCache, ReadOnly: o.reading, Fill: o.filling, CacheDir: o.cacheDir}, o.sendTime())
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := o.resolver(ctx, fetcher{t.Tool, engine.Env(), engine.RunFetching}, shown)
	return t, engine, r, err
}

// native opens a builder that builds with the go command here.
func (o *builderOptions) native(ctx context.Context, shown *screen) (*launcher.Local, error) {
	t, engine, r, err := o.openNative(ctx, shown)
	if err != nil {
		return nil, err
	}
	w := &launcher.Local{
		Engine:   fast.New(engine, fast.Config{Lifetime: o.lifetime, GoBuild: o.filling, Logger: shown.logger()}),
		Settings: engine.Settings(), Resolver: r, Report: shown.watch(""),
	}
	w.Release = func() error {
		if w.Built {
			engine.Settle(ctx)
			app.TrimGoCaches(ctx, engine, int64(o.goCache), shown.logger())
		}
		return t.Close()
	}
	return w, nil
}

// xk6 opens a builder that has an xk6 on PATH build.
func (o *builderOptions) xk6(ctx context.Context, shown *screen) (_ *launcher.Local, err error) {
	t, err := o.openGo(ctx, shown)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	engine, err := xk6.New(ctx, xk6.Config{Tool: t.Tool, Cage: t.Cage, Personal: t.Personal, Dir: app.GoDir(o.cacheDir), Logger: shown.logger()})
	if err != nil {
		return nil, err
	}
	t.OnClose(engine.Close)
	r, err := o.resolver(ctx, fetcher{t.Tool, engine.Env(), engine.RunFetching}, shown)
	if err != nil {
		return nil, err
	}
	return &launcher.Local{Engine: engine, Settings: engine.Settings(), Resolver: r, Report: shown.watch(""), Release: t.Close}, nil
}

// defaultImage has Go, and is small.
const defaultImage = container.DefaultImage

// fetching are the variables that fetching modules depends on, and that have the same effect in a
// container as here. Those that name files do not.
var fetching = []string{
	"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// docker opens a builder that builds in a container.
func (o *builderOptions) docker(ctx context.Context, shown *screen) (*launcher.Local, error) {
	var env []string
	for _, name := range fetching {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			env = append(env, name+"="+value)
		}
	}
	env, err := gotool.Fetching(append(env, o.Env...), o.Direct)
	if err != nil {
		return nil, cli.WrongUsage(err)
	}
	engine, err := container.New(ctx, container.Config{
		Image: o.image, Network: o.network, Env: env, Dir: "", Logger: shown.logger(),
	})
	if err != nil {
		return nil, err
	}
	tool := new(gotool.Tool) // with which the resolver fetches modules here
	release := func() error { return errors.Join(engine.Close(), tool.Egress.Close()) }
	fail := func(err error) (*launcher.Local, error) { return nil, errors.Join(err, release()) }
	settings, err := engine.Settings(ctx, shown.watch(""))
	if err != nil {
		return fail(err)
	}
	tool.Version = settings.Toolchain
	env = append(os.Environ(), env...)
	if tool.Egress, err = egress.Start(env, shown.logger()); err != nil {
		return fail(err)
	}
	r, err := o.resolver(ctx, fetcher{tool: tool, env: append(env, tool.Egress.Environ()...)}, shown)
	if err != nil {
		return fail(err)
	}
	return &launcher.Local{Engine: engine, Settings: settings, Resolver: r, Report: shown.watch(""), Release: release}, nil
}
