package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"k6x/builder/container"
	"k6x/gotool"
	"k6x/internal/egress"
	"k6x/launcher"
)

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
		return nil, err
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
