package app

import (
	"k6x/cmd/internal/cli"
	"k6x/service"
)

// version is what /version tells of this service.
func (a *App) version() service.Version {
	report := a.tools.Cage.Report()
	return service.Version{
		K6x: cli.Version(), Go: []string{a.tools.Tool.Version}, Engines: []string{"native"},
		Sandbox: service.Sandbox(report),
		Limits: service.Limits{
			MaxBuilds: a.options.MaxBuilds, Queue: a.options.Queue, BuildTimeout: int64(a.options.BuildTimeout.Seconds()),
			PerBuild: a.options.Sandbox.Limits(),
		},
	}
}
