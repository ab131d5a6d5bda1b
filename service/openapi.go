package service

import (
	_ "embed"
	"net/http"
	"strings"
	"time"
)

// openapiText describes all routes; a test holds it against them.
//
//go:embed openapi.yaml
var openapiText string

// openapi answers GET of /openapi.yaml.
func (s *Service) openapi(w *response, r *http.Request) error {
	w.outcome = "status"
	w.Header().Set("Content-Type", "application/yaml")
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(openapiText))
	return nil
}
