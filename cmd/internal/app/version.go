package app

import (
	"k6x/cmd/internal/cli"
	"k6x/service"
)

// version is what /version tells of this service.
func (a *App) version() service.Version {
	return service.Version{
		K6x: cli.Version(), Go: []string{a.tool.Version}, Engines: []string{"native"},
		Sandbox: service.Sandbox{State: "none", Lacks: []string{"not implemented"}},
		Limits: service.Limits{
			MaxBuilds: a.options.MaxBuilds, Queue: a.options.Queue, BuildTimeout: int64(a.options.BuildTimeout.Seconds()),
		},
	}
}
