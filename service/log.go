package service

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"k6x"
	"k6x/cache"
	"k6x/event"
	"k6x/history"
)

// loggedError is a failed build whose whole log is at path.
type loggedError struct {
	err  *k6x.Error
	path string
}

func (e *loggedError) Error() string { return e.err.Error() }
func (e *loggedError) Unwrap() error { return e.err }

// logged links a failed build to its log, if it has one.
func (s *Service) logged(key string, err error) error {
	e, ok := errors.AsType[*k6x.Error](err)
	if !ok || e.Output == "" || s.cfg.Logs == nil {
		return err
	}
	return &loggedError{err: e, path: "/logs/" + key}
}

const maxPrinted = 1 << 20 // bytes of one build that are kept as it prints them

// KeepLogs returns a sink that keeps the output of builds: of one that succeeds what was told while it ran; of one that fails all of it, also as
// the last of its recipe.
func KeepLogs(logs *cache.Logs, logger *slog.Logger) event.Sink {
	var mu sync.Mutex                  // guards what follows
	printed := make(map[string]string) // by job, until its engine is done
	return func(e event.Event) {
		mu.Lock()
		text := printed[e.Job]
		switch {
		case e.Type == event.Output && len(text) < maxPrinted:
			printed[e.Job] = text + e.Output
		case e.Type == event.Finished:
			delete(printed, e.Job)
		}
		mu.Unlock()
		if e.Type != event.Finished {
			return
		}
		keys := []string{history.LogKey(e.Job)}
		if e.Failure != nil && e.Failure.Output != "" {
			text, keys = e.Failure.Output, append(keys, e.Key)
		}
		if text == "" {
			return
		}
		for _, key := range keys {
			if err := logs.Put(key, text); err != nil {
				logger.Warn("the log of a build cannot be kept", "key", e.Key, "error", err)
			}
		}
	}
}

// buildLog answers GET of /logs/{key} with the whole output of a build that failed.
func (s *Service) buildLog(w *response, r *http.Request) error {
	if err := s.mayRead(r); err != nil {
		return err
	}
	missing := k6x.Errorf(k6x.NotFound, "there is no log at %s", k6x.Clip(r.URL.EscapedPath())).
		WithHint("The logs of failed builds are kept for a while only. Ask for the binary again to see why it fails.")
	if s.cfg.Logs == nil {
		return missing
	}
	log, modified, err := s.cfg.Logs.Open(r.Context(), strings.TrimPrefix(r.URL.Path, "/logs/"))
	if k6x.KindOf(err) == k6x.Unavailable {
		return err
	}
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
