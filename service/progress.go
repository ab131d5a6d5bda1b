package service

import (
	"encoding/json"
	"net/http"
	"strings"

	"k6x"
	"k6x/event"
)

// progressPath is where clients that wait for a binary may ask how far it is, with the binary's path
// behind it.
const progressPath = "/progress"

// buildProgress is the body of an answer there.
type buildProgress struct {
	Build string `json:"build,omitempty"` // id
	Step  string `json:"step"`            // preparing, fetching, compiling, linking or checking
	Done  int64  `json:"done,omitempty"`  // modules or packages
	Total int64  `json:"total,omitempty"` // 0: not known
}

// progress answers how far the build of a canonical path is: 204 if none runs, which may
// mean that it waits for its turn.
func (s *Service) progress(w *response, r *http.Request) error {
	w.outcome = "status"
	platform, list, err := k6x.ParsePath(strings.TrimPrefix(r.URL.Path, progressPath))
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	if s.cfg.Progress == nil {
		return notFound(w, r)
	}
	e, ok := s.cfg.Progress(list.Path(platform))
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(buildProgress{Build: e.Job, Step: max(e.Step, event.Preparing).String(), Done: e.Done, Total: e.Total})
}
