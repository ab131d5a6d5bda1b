package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"k6x"
)

// A client that follows ten redirects, as Go's does, has one of them spent on
// finding the canonical path, so that it can be sent round this often.
const (
	maxRounds  = 8
	roundParam = "round"
)

var errRound = errors.New("waited for one round")

// inRounds runs f, which may take as long as a build, or as a slow bucket. With a MaxWait, a request that
// has waited that long is redirected to itself, and joins the same build or download again, so that
// it outlives the patience of a proxy in between. A count in the query bounds it. Path
// is that of the request in the form that we print.
func (s *Service) inRounds(w *response, r *http.Request, path string, f func(ctx context.Context) error) error {
	if s.cfg.MaxWait <= 0 {
		return f(r.Context())
	}
	ctx, stop := context.WithTimeoutCause(r.Context(), s.cfg.MaxWait, errRound)
	defer stop()
	err := f(ctx)
	if k6x.Interrupted(err) && errors.Is(context.Cause(ctx), errRound) {
		return s.nextRound(w, r, path)
	}
	return err
}

// untilDrained runs f, whose ctx ends when the service drains; then, and if it drains
// already, the error says so.
func (s *Service) untilDrained(ctx context.Context, f func(ctx context.Context) error) error {
	select {
	case <-s.draining:
		return errDraining
	default:
	}
	ctx, cancel := s.whileServing(ctx)
	defer cancel()
	err := f(ctx)
	if k6x.Interrupted(err) && errors.Is(context.Cause(ctx), errDraining) {
		return errDraining
	}
	return err
}

func (s *Service) nextRound(w *response, r *http.Request, path string) error {
	round := rounds(r) + 1
	if round > maxRounds {
		return k6x.Errorf(k6x.Busy, "this binary is still being built").WithHint("The build goes on.").WithRetry(max(s.cfg.MaxWait, 10*time.Second))
	}
	w.outcome = "waiting"
	w.Header().Set("Cache-Control", "no-cache, no-store")
	return s.redirect(w, http.StatusTemporaryRedirect, withRound(path, round))
}

// rounds returns how often the client was sent round already.
func rounds(r *http.Request) int {
	n, err := strconv.Atoi(r.URL.Query().Get(roundParam))
	if err != nil {
		return 0
	}
	return max(0, n)
}

func withRound(path string, round int) string {
	return fmt.Sprintf("%s?%s=%d", path, roundParam, round)
}
