package main

import (
	"context"
	"os"
	"strings"

	"k6x/builder/container"
	"k6x/launcher"
)

// defaultImage has Go, and is small.
const defaultImage = container.DefaultImage

// fetching are the variables that fetching modules depends on, and that mean the same in a
// container as here. Those that name files do not.
var fetching = []string{
	"GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// docker makes what is needed to build in a container.
func (o *builderOptions) docker(ctx context.Context, shown *screen) (launcher.Workshop, error) {
	var env []string
	for _, name := range fetching {
		if value := strings.TrimSpace(os.Getenv(name)); value != "" {
			env = append(env, name+"="+value)
		}
	}
	engine, err := container.New(ctx, container.Config{
		Image: o.image, Network: o.network, Env: append(env, o.env...), Dir: "", Logger: shown.logger(),
	})
	if err != nil {
		return launcher.Workshop{}, err
	}
	settings, err := engine.Settings(shown.watch(ctx))
	if err != nil {
		engine.Close()
		return launcher.Workshop{}, err
	}
	r, err := o.resolver(ctx, "", settings.Toolchain, append(os.Environ(), o.env...), shown)
	if err != nil {
		engine.Close()
		return launcher.Workshop{}, err
	}
	return launcher.Workshop{Engine: engine, Settings: settings, Resolve: resolveWith(r), Close: engine.Close}, nil
}
