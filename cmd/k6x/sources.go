package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/egress"
	"k6x/launcher"
	"k6x/launcher/remote"
	"k6x/resolver"
)

func hostPlatform() k6x.Platform { return k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH} }

// sources returns those that --builder names. What each does is told to shown.
func (o *builderOptions) sources(shown *screen) ([]launcher.Source, error) {
	known := map[string]launcher.Source{
		"service": &launcher.Service{Dial: func() (*remote.Client, error) { return o.dial(shown) }},
		"native":  &launcher.Local{Builder: "native", Make: func(ctx context.Context) (launcher.Workshop, error) { return o.native(ctx, shown) }},
		"docker":  &launcher.Local{Builder: "docker", Make: func(ctx context.Context) (launcher.Workshop, error) { return o.docker(ctx, shown) }},
		"xk6":     &launcher.Local{Builder: "xk6", Make: func(ctx context.Context) (launcher.Workshop, error) { return o.xk6(ctx, shown) }},
	}
	var list []launcher.Source
	for i, name := range o.builders {
		if slices.Contains(o.builders[:i], name) {
			continue
		}
		s, ok := known[name]
		if !ok {
			return nil, &cli.UsageError{Err: fmt.Errorf("--builder %q is not service, native, docker or xk6", name)}
		}
		if name == "service" && o.filter != "" {
			// The service has a filter of its own; this one is the user's.
			s = &launcher.Filtered{Source: s, Permit: func(ctx context.Context, list k6x.List) error {
				r, err := o.resolver(ctx, fetcher{env: os.Environ()}, shown)
				if err != nil {
					return err
				}
				return r.Permit(list)
			}}
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, &cli.UsageError{Err: errors.New("--builder is empty")}
	}
	return list, nil
}

// dial returns a client of the builder service.
func (o *builderOptions) dial(shown *screen) (*remote.Client, error) {
	if o.service == "" {
		return nil, k6x.Errorf(k6x.Unavailable, "K6X_BUILDER_SERVICE is not set")
	}
	base, err := remote.ParseBase(o.service)
	if err != nil {
		return nil, err
	}
	token, err := cli.Token(tokenVariable, o.tokenFile)
	if err != nil {
		return nil, err
	}
	return &remote.Client{Base: base, Token: token, Tries: 3, Progress: shown.remote, Logger: shown.logger()}, nil
}

// native makes what is needed to build with the go command here.
func (o *builderOptions) native(ctx context.Context, shown *screen) (launcher.Workshop, error) {
	tools, err := o.nativeTools(ctx, shown)
	if err != nil {
		return launcher.Workshop{}, err
	}
	built := false
	return launcher.Workshop{
		Engine:   builder.Record(tools.engine, func(context.Context, builder.Outcome) { built = true }),
		Settings: tools.engine.Settings(), Resolve: resolveWith(tools.resolver),
		Close: func() error {
			if built {
				tools.engine.Settle(ctx)
				app.TrimGoCaches(ctx, tools.engine, int64(o.goCache), shown.logger())
			}
			return tools.close()
		},
	}, nil
}

// nativeTools are the engine that builds here, and what goes with it.
type nativeTools struct {
	cage     *cage.Cage
	tool     *gotool.Tool
	engine   *native.Engine
	resolver *resolver.Resolver
	builds   *app.BuildCache // nil: it is not shared
	sendTime time.Duration
}

// close ends the use of all.
func (t *nativeTools) close() error {
	var errs []error
	if t.engine != nil {
		errs = append(errs, t.engine.Close())
	}
	if t.tool != nil {
		errs = append(errs, t.tool.Egress.Close())
	}
	if t.builds != nil {
		errs = append(errs, t.builds.Close(t.sendTime))
	}
	return errors.Join(errs...)
}

func (o *builderOptions) nativeTools(ctx context.Context, shown *screen) (_ *nativeTools, err error) {
	t := &nativeTools{sendTime: o.sendTime()}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	personal, env := gotool.Personal()
	if t.tool, err = gotool.Find(ctx, append(env, o.env...), o.direct); err != nil {
		return nil, err
	}
	t.tool.Personal = true
	if t.tool.Egress, err = egress.Start(t.tool.Fetch, shown.logger()); err != nil {
		return nil, err
	}
	if t.cage, err = o.sandbox.Cage(); err != nil {
		return nil, err
	}
	shown.tell(true, "sandbox: "+t.cage.Report().String())
	cfg := native.Config{Tool: t.tool, Cage: t.cage, Personal: personal, Dir: app.GoDir(o.cacheDir), Hurried: !o.patient, Logger: shown.logger()}
	if o.buildCache != "" {
		if t.builds, err = app.OpenBuildCache(ctx, app.BuildCacheConfig{
			URL: o.buildCache, ReadOnly: o.reading, CacheDir: o.cacheDir, Logger: shown.logger(),
		}); err != nil {
			return nil, fmt.Errorf("--build-cache: %w", err)
		}
		cfg.BuildCache = t.builds
	}
	if t.engine, err = native.New(ctx, cfg); err != nil {
		return nil, err
	}
	t.resolver, err = o.resolver(ctx, fetcher{t.tool, t.engine.Env(), t.engine.RunFetching}, shown)
	return t, err
}

// fetcher is the go command that fetches what a resolver asks about. The zero value is none.
type fetcher struct {
	tool *gotool.Tool // without a path if there is no go command here
	env  []string
	run  func(cmd *exec.Cmd, dir string) error
}

// resolver returns one for who builds with what f fetches.
func (o *builderOptions) resolver(ctx context.Context, f fetcher, shown *screen) (*resolver.Resolver, error) {
	r, err := o.openResolver(ctx, f, shown)
	if err != nil {
		return nil, err
	}
	if err := r.Refresh(ctx); err != nil {
		return nil, err
	}
	return r, o.checkLoaded(r)
}

// checkLoaded returns an error unless all registries that were named are there: without one, k6 might be
// one that it does not have, and be kept, and the filter could not tell what it refuses.
func (o *builderOptions) checkLoaded(r *resolver.Resolver) error {
	for _, s := range r.Sources() {
		if (len(o.registries) > 0 || o.filter != "") && !s.Loaded {
			return k6x.Errorf(k6x.Unavailable, "the registry %s cannot be read: %s", s.Location, s.Error)
		}
	}
	return nil
}

// openResolver is resolver with copies of registries that may be old.
func (o *builderOptions) openResolver(ctx context.Context, f fetcher, shown *screen) (*resolver.Resolver, error) {
	tool := cmp.Or(f.tool, &gotool.Tool{})
	return resolver.New(ctx, resolver.Config{
		Registries: o.registries, Filter: o.filter, AllowModules: strings.Join(o.modules, ","), AllowBuildSemvers: o.commits,
		Toolchain: tool.Version, Dir: filepath.Join(o.cacheDir, "resolver"), Go: tool.Path, Env: f.env, Run: f.run, Egress: tool.Egress,
		Logger: shown.logger(),
	})
}

// resolveWith returns a resolve function for a workshop.
func resolveWith(r *resolver.Resolver) func(ctx context.Context, list k6x.List) ([]k6x.Module, bool, error) {
	return func(ctx context.Context, list k6x.List) ([]k6x.Module, bool, error) {
		if err := r.Permit(list); err != nil {
			return nil, false, err
		}
		found, err := r.Resolve(ctx, list)
		return found.Modules, found.Cgo, err
	}
}
