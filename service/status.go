package service

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"

	"k6x"
	"k6x/cache"
	"k6x/resolver"
)

// alive answers GET of /alive: the process is up.
func (s *Service) alive(w *response, _ *http.Request) error {
	w.outcome = "status"
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// readiness is the body of /ready.
type readiness struct {
	Ready      bool                    `json:"ready"`
	Message    string                  `json:"message,omitempty"`
	Store      string                  `json:"store,omitempty"` // why nothing can be stored now
	Registries []resolver.SourceStatus `json:"registries"`
}

// ready answers GET of /ready: 200 if requests should be sent here, else 503. A registry that
// is stale is named, but is no reason to send requests elsewhere.
func (s *Service) ready(w *response, _ *http.Request) error {
	w.outcome = "status"
	body := readiness{Ready: true, Registries: s.cfg.Resolver.Sources()}
	status := http.StatusOK
	for _, source := range body.Registries {
		if source.Stale {
			body.Message = "a registry is out of reach: what is known of it is served"
		}
	}
	if limited, ok := s.cfg.Store.(cache.Limited); ok { // what is stored can be had all the same
		body.Store = limited.Stats().Full
	}
	select {
	case <-s.draining:
		body.Ready, body.Message, status = false, errDraining.Message, http.StatusServiceUnavailable
	default:
	}
	return writeStatus(w, status, body)
}

// writeStatus answers with what holds now.
func writeStatus(w *response, status int, body any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(body)
}

// index answers GET of / with how to use the service.
func (s *Service) index(w *response, r *http.Request) error {
	w.outcome = "status"
	platform := k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, err := fmt.Fprintf(w, `k6x builds k6 with the extensions that you name.

    curl -fL -o k6 %s

Leave out a version for the newest; the answer redirects to the URL that names one binary for ever.
`, s.absolute(r, "/"+platform.String()+"/k6,k6/x/redis"))
	return err
}
