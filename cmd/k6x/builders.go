package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"k6x"
	"k6x/builder/container"
	"k6x/builder/fast"
	"k6x/builder/native"
	"k6x/builder/xk6"
	"k6x/client"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/gotool"
	"k6x/internal/egress"
	"k6x/launcher"
	"k6x/launcher/binaries"
	"k6x/resolver"
)

func hostPlatform() k6x.Platform { return k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH} }

// sources returns those that --builder names. Each reports its progress to shown.
func (o *options) sources(shown *screen) ([]launcher.Source, error) {
	here := func(tools func(context.Context, *screen) (*app.Tools, error),
		open func(context.Context, *app.Tools, *launcher.Local, *screen) error) func(context.Context) (launcher.Builder, error) {
		return func(ctx context.Context) (launcher.Builder, error) {
			t, err := tools(ctx, shown)
			if err != nil {
				return nil, err
			}
			l := &launcher.Local{Report: shown.watch(""), Release: t.Close, Warn: shown.warn}
			if err := open(ctx, t, l, shown); err != nil {
				return nil, errors.Join(err, t.Close())
			}
			return l, nil
		}
	}
	noGo := func(context.Context, *screen) (*app.Tools, error) { return &app.Tools{Tool: new(gotool.Tool)}, nil }
	known := map[string]func(context.Context) (launcher.Builder, error){
		"service": func(context.Context) (launcher.Builder, error) {
			c, err := o.dial(shown)
			return launcher.Service{Client: c, Permit: o.permit(shown), Warn: shown.warn, Report: shown.command.Sink()}, err
		},
		"native": here(o.openGo, o.native), "docker": here(noGo, o.docker), "xk6": here(o.openGo, o.xk6),
	}
	var list []launcher.Source
	for i, name := range o.builders {
		if slices.Contains(o.builders[:i], name) {
			continue
		}
		open, ok := known[name]
		if !ok {
			return nil, cli.Usage(fmt.Errorf("--builder %q is not service, native, docker or xk6", name))
		}
		list = append(list, launcher.Source{Name: name, Open: open})
	}
	if len(list) == 0 {
		return nil, cli.Usage(errors.New("--builder is empty"))
	}
	return list, nil
}

// permit returns the user's own filter of what a service, which has one too, is asked for; nil if there is none.
func (o *options) permit(shown *screen) func(context.Context, k6x.List) error {
	if o.filter == "" {
		return nil
	}
	return func(ctx context.Context, list k6x.List) error {
		r, err := o.resolver(ctx, o.noFetcher(), shown)
		if err != nil {
			return err
		}
		return r.Permit(list)
	}
}

// dial returns a client of the builder service.
func (o *options) dial(shown *screen) (*client.Client, error) {
	if o.service == "" {
		return nil, k6x.Errorf(k6x.Unavailable, "K6X_BUILDER_SERVICE is not set").WithHint("Set K6X_BUILDER_SERVICE to the URL of a builder service.")
	}
	base, err := client.ParseBase(o.service)
	if err != nil {
		return nil, cli.Usage(err)
	}
	token, err := cli.Token(tokenVariable, o.tokenFile)
	if err != nil {
		return nil, err
	}
	if o.noToken {
		token = ""
	}
	hint := ""
	switch {
	case o.noToken:
		hint = "The token is sent to --builder-service only, which is another one."
	case token == "":
		hint = "Set " + tokenVariable + " to one, or name a file with one by --builder-token-file."
	}
	return &client.Client{Base: base, Token: token, NoToken: hint, Tries: 3, Progress: shown.service(), Retrying: shown.retrying, Nearest: o.nearest}, nil
}

// nearest implements [client.Nearest] with the binaries that are kept here.
func (o *options) nearest(platform k6x.Platform, pinned k6x.List) (digest string, open func() (io.ReadCloser, error)) {
	dir, err := binaries.New(o.kept())
	if err != nil || o.cacheDir == "" { // of commands that keep none
		return "", nil
	}
	b, ok := dir.Nearest(context.Background(), platform, pinned)
	if !ok {
		return "", nil
	}
	return b.Digest, func() (io.ReadCloser, error) { return os.Open(b.Path) }
}

// noFetcher is of a resolver that knows the registries and fetches no modules.
func (o *options) noFetcher() resolver.Config {
	return resolver.Config{Env: append(os.Environ(), o.Env...)}
}

// resolver returns one that fetches modules as cfg says, whose registries are up to date.
func (o *options) resolver(ctx context.Context, cfg resolver.Config, shown *screen) (*resolver.Resolver, error) {
	r, err := o.openResolver(ctx, cfg, shown)
	if err == nil {
		err = r.Refresh(ctx)
	}
	if err == nil {
		err = o.checkLoaded(r)
	}
	return r, err
}

// checkLoaded returns an error unless all registries that were named are there: without one, k6 might be
// one that it does not have, and be kept, and the filter could not refuse its extensions.
func (o *options) checkLoaded(r *resolver.Resolver) error {
	for _, s := range r.Sources() {
		if (len(o.registries) > 0 || o.filter != "") && !s.Loaded {
			e := k6x.Errorf(k6x.Unavailable, "the registry %s cannot be read: %s", s.Location, s.Error)
			if len(o.registries) == 0 {
				e = e.WithHint("It is needed for --filter; the registry in this program is used with --registry embedded.")
			}
			return e
		}
	}
	return nil
}

// openResolver returns one whose copies of registries may be old.
func (o *options) openResolver(ctx context.Context, cfg resolver.Config, shown *screen) (*resolver.Resolver, error) {
	cfg.Registries, cfg.Filter, cfg.AllowModules, cfg.AllowBuildSemvers = o.registries, o.filter, strings.Join(o.modules, ","), o.AllowBuildSemvers
	cfg.Dir, cfg.Logger = filepath.Join(o.cacheDir, "resolver"), shown.logger()
	r, err := resolver.New(ctx, cfg)
	return r, cli.WrongUsage(err)
}

// openGo finds the go command here, and has its network and its files confined.
func (o *options) openGo(ctx context.Context, shown *screen) (*app.Tools, error) {
	t, err := app.OpenTools(ctx, app.ToolsConfig{Env: o.Env, Direct: o.Direct, Sandbox: o.Sandbox, Personal: true, Logger: shown.logger()})
	if err == nil {
		shown.print(true, "sandbox: "+t.Cage.Report().String())
	}
	return t, cli.WrongUsage(err)
}

// openNative opens the engine that builds with the go command here, and its resolver.
func (o *options) openNative(ctx context.Context, t *app.Tools, shown *screen) (*native.Engine, *resolver.Resolver, error) {
	engine, err := t.OpenNative(ctx, native.Config{},
		app.BuildCacheConfig{URL: o.buildCache, ReadOnly: o.reading, Fill: o.filling, All: o.filling, CacheDir: o.cacheDir}, o.sendTime())
	if err != nil {
		return nil, nil, err
	}
	r, err := o.resolver(ctx, t.Resolving(engine), shown)
	return engine, r, err
}

// native opens a builder that builds with the go command here.
func (o *options) native(ctx context.Context, t *app.Tools, l *launcher.Local, shown *screen) error {
	engine, r, err := o.openNative(ctx, t, shown)
	if err != nil {
		return err
	}
	l.Engine, l.Settings, l.Resolver = fast.New(engine, fast.Config{Lifetime: o.lifetime, GoBuild: o.filling, Logger: shown.logger()}), engine.Settings(), r
	l.Release = func() error {
		if l.Built {
			engine.Settle(ctx)
			app.TrimGoCaches(ctx, engine, int64(o.goCache), shown.logger())
		}
		return t.Close()
	}
	return nil
}

// xk6 opens a builder that has an xk6 on PATH build.
func (o *options) xk6(ctx context.Context, t *app.Tools, l *launcher.Local, shown *screen) error {
	engine, err := xk6.New(ctx, xk6.Config{Tool: t.Tool, Cage: t.Cage, Personal: t.Personal, Dir: app.GoDir(o.cacheDir), Logger: shown.logger()})
	if err != nil {
		return err
	}
	t.OnClose(engine.Close)
	l.Engine, l.Settings = engine, engine.Settings()
	l.Resolver, err = o.resolver(ctx, t.Resolving(engine), shown)
	return err
}

// fetching are the variables that fetching modules depends on, and that have the same effect in a
// container as here. Those that name files do not.
var fetching = []string{
	"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// docker opens a builder that builds in a container. Modules are fetched here for its resolver.
func (o *options) docker(ctx context.Context, t *app.Tools, l *launcher.Local, shown *screen) error {
	var env []string
	for _, name := range fetching {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			env = append(env, name+"="+value)
		}
	}
	env, err := gotool.Fetching(append(env, o.Env...), o.Direct)
	if err != nil {
		return cli.WrongUsage(err)
	}
	engine, err := container.New(ctx, container.Config{Image: o.image, Network: o.network, Env: env, Logger: shown.logger()})
	if err != nil {
		return err
	}
	t.OnClose(engine.Close)
	if l.Settings, err = engine.Settings(ctx, l.Report); err != nil {
		return err
	}
	env = append(os.Environ(), env...)
	proxy, err := egress.Start(env, shown.logger())
	if err != nil {
		return err
	}
	t.OnClose(proxy.Close)
	l.Engine = engine
	l.Resolver, err = o.resolver(ctx, resolver.Config{Toolchain: l.Settings.Toolchain, Env: append(env, proxy.Environ()...), Egress: proxy}, shown)
	return err
}
