package service

import (
	"errors"
	"net/http"
	"strings"

	"k6x"
)

// loggedError is a failed build whose whole log is at path.
type loggedError struct {
	err  *k6x.Error
	path string
}

func (e *loggedError) Error() string { return e.err.Error() }
func (e *loggedError) Unwrap() error { return e.err }

// keepLog keeps the output of a failed build, if err is one, so that an answer can
// link to it.
func (s *Service) keepLog(key string, err error) error {
	e, ok := errors.AsType[*k6x.Error](err)
	if !ok || e.Output == "" || s.cfg.Logs == nil {
		return err
	}
	if putErr := s.cfg.Logs.Put(key, e.Output); putErr != nil {
		s.cfg.Logger.Warn("cannot keep the log of a failed build", "key", key, "error", putErr)
		return err
	}
	return &loggedError{err: e, path: "/logs/" + key}
}

// buildLog answers GET of /logs/{key} with the whole output of a build that failed.
func (s *Service) buildLog(w *response, r *http.Request) error {
	missing := k6x.Errorf(k6x.NotFound, "there is no log at %s", r.URL.EscapedPath()).
		WithHint("The logs of failed builds are kept for a while only. Ask for the binary again to see why it fails.")
	if s.cfg.Logs == nil {
		return missing
	}
	log, modified, err := s.cfg.Logs.Open(strings.TrimPrefix(r.URL.Path, "/logs/"))
	if err != nil {
		return missing.WithCause(err)
	}
	defer log.Close()
	w.outcome = "log"
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", modified, log)
	return nil
}
