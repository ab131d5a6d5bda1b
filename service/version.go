package service

import (
	"net/http"

	"k6x"
)

// Version is the body of /version: what this service is, what it builds with, and what bounds a build.
type Version struct {
	K6x       string   `json:"k6x"`
	Go        []string `json:"go"`        // toolchains
	Platforms []string `json:"platforms"` // those of the [Config], which New fills in
	Engines   []string `json:"engines"`
	Sandbox   Sandbox  `json:"sandbox"`
	Limits    Limits   `json:"limits"`
}

// Sandbox says how well builds are confined.
type Sandbox struct {
	State string   `json:"state"`           // full, partial or none
	Lacks []string `json:"lacks,omitempty"` // what keeps it from being full
}

// Limits bound the builds of a service.
type Limits struct {
	MaxBuilds    int        `json:"max_builds"`    // at once
	Queue        int        `json:"queue"`         // builds that may wait
	BuildTimeout int64      `json:"build_timeout"` // seconds of one build, its wait not counted
	PerBuild     k6x.Limits `json:"per_build,omitempty"`
}

// version answers GET of /version.
func (s *Service) version(w *response, _ *http.Request) error {
	w.outcome = "status"
	return writeStatus(w, http.StatusOK, s.cfg.Version)
}
