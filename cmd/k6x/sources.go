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

	"k6x"
	"k6x/client"
	"k6x/cmd/internal/cli"
	"k6x/gotool"
	"k6x/launcher"
	"k6x/resolver"
)

func hostPlatform() k6x.Platform { return k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH} }

// sources returns those that --builder names. Each reports its progress to shown.
func (o *builderOptions) sources(shown *screen) ([]launcher.Source, error) {
	here := func(open func(context.Context, *screen) (*launcher.Local, error)) func(context.Context) (launcher.Builder, error) {
		return func(ctx context.Context) (launcher.Builder, error) {
			l, err := open(ctx, shown)
			if err != nil {
				return nil, err
			}
			l.Warn = shown.warn
			return l, nil
		}
	}
	known := map[string]func(context.Context) (launcher.Builder, error){
		"service": func(context.Context) (launcher.Builder, error) {
			c, err := o.dial(shown)
			return launcher.Service{Client: c, Permit: o.permit(shown), Warn: shown.warn, Report: shown.command.Sink()}, err
		},
		"native": here(o.native), "docker": here(o.docker), "xk6": here(o.xk6),
	}
	var list []launcher.Source
	for i, name := range o.builders {
		if slices.Contains(o.builders[:i], name) {
			continue
		}
		open, ok := known[name]
		if !ok {
			return nil, &cli.UsageError{Err: fmt.Errorf("--builder %q is not service, native, docker or xk6", name)}
		}
		list = append(list, launcher.Source{Name: name, Open: open})
	}
	if len(list) == 0 {
		return nil, &cli.UsageError{Err: errors.New("--builder is empty")}
	}
	return list, nil
}

// permit returns the user's own filter of what a service, which has one too, is asked for; nil if there is none.
func (o *builderOptions) permit(shown *screen) func(context.Context, k6x.List) error {
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
func (o *builderOptions) dial(shown *screen) (*client.Client, error) {
	if o.service == "" {
		return nil, k6x.Errorf(k6x.Unavailable, "K6X_BUILDER_SERVICE is not set").WithHint("Set K6X_BUILDER_SERVICE to the URL of a builder service.")
	}
	base, err := client.ParseBase(o.service)
	if err != nil {
		return nil, &cli.UsageError{Err: err}
	}
	token, err := cli.Token(tokenVariable, o.tokenFile)
	if err != nil {
		return nil, err
	}
	return &client.Client{Base: base, Token: token, Tries: 3, Progress: shown.service(), Retrying: shown.retrying, Logger: shown.logger()}, nil
}

// fetcher is the go command that fetches modules for a resolver. The zero value fetches none.
type fetcher struct {
	tool *gotool.Tool // without a path if there is no go command here
	env  []string
	run  func(cmd *exec.Cmd, dir string) error
}

// noFetcher is a fetcher that fetches none, for a resolver that knows the registries.
func (o *builderOptions) noFetcher() fetcher { return fetcher{env: append(os.Environ(), o.Env...)} }

// resolver returns one with f to fetch modules, whose registries are up to date.
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
// one that it does not have, and be kept, and the filter could not refuse its extensions.
func (o *builderOptions) checkLoaded(r *resolver.Resolver) error {
	for _, s := range r.Sources() {
		if (len(o.registries) > 0 || o.filter != "") && !s.Loaded {
			return k6x.Errorf(k6x.Unavailable, "the registry %s cannot be read: %s", s.Location, s.Error)
		}
	}
	return nil
}

// openResolver returns one whose copies of registries may be old.
func (o *builderOptions) openResolver(ctx context.Context, f fetcher, shown *screen) (*resolver.Resolver, error) {
	tool := cmp.Or(f.tool, &gotool.Tool{})
	r, err := resolver.New(ctx, resolver.Config{
		Registries: o.registries, Filter: o.filter, AllowModules: strings.Join(o.modules, ","), AllowBuildSemvers: o.AllowBuildSemvers,
		Toolchain: tool.Version, Dir: filepath.Join(o.cacheDir, "resolver"), Go: tool.Path, Env: f.env, Run: f.run, Egress: tool.Egress,
		Logger: shown.logger(),
	})
	return r, cli.WrongUsage(err)
}
