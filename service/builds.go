package service

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"k6x"
	"k6x/builder"
	"k6x/event"
	"k6x/history"
)

// buildHeader has the id of the build on each answer that one was for and that is not cacheable.
const buildHeader = "K6x-Build"

// lastHeader has the number of the last entry of the history on answers of /changes.
const lastHeader = "K6x-Last"

const (
	maxBuildRequest = 64 << 10 // bytes of the body of POST /builds
	maxHistoryQuery = 4 << 10  // bytes
	maxResults      = 1000     // of one answer of /builds
)

// Builds is what /builds, /matrix and /changes tell of.
type Builds struct {
	History  *history.History
	Recorder *history.Recorder
	Live     *history.Live // of other services on the bucket; nil: there are none
	Events   *event.Stream
	Versions func() map[string][]string // of extensions, as far as they are known; nil: none are
	Public   bool                       // to be seen without a token, where tokens are needed to build
}

// joiner is a builder that says which build a job joins.
type joiner interface {
	Join(ctx context.Context, job builder.Job) (id string, wait func(context.Context) (k6x.Artifact, error), err error)
}

// visible is a handler of what names modules: where tokens are needed to build, one is needed to see it.
func (s *Service) visible(h handler) handler {
	return func(w *response, r *http.Request) error {
		w.outcome = "history"
		if s.cfg.Builds.History == nil {
			return notFound(w, r)
		}
		if len(r.URL.RawQuery) > maxHistoryQuery {
			return k6x.Errorf(k6x.Invalid, "the query of %d bytes is too long", len(r.URL.RawQuery))
		}
		if err := s.mayRead(r); err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		return h(w, r)
	}
}

// mayRead returns an error unless a request may see what came of builds.
func (s *Service) mayRead(r *http.Request) error {
	if s.cfg.Builds.Public {
		return nil
	}
	return s.cfg.Tokens.Check(r)
}

var errOtherOrigin = k6x.Errorf(k6x.Forbidden, "pages of other origins may not do this")

// sameOrigin is [sameOrigin] for a service that has an address of its own, which a proxy in front may not pass on.
func (s *Service) sameOrigin(h handler) handler { return sameOrigin(h, s.base("")) }

// sameOrigin is a handler that takes no request which a page of another origin makes: one that is neither the host of the request nor listed.
func sameOrigin(h handler, origins ...string) handler {
	protection := http.NewCrossOriginProtection()
	for _, origin := range origins {
		_ = protection.AddTrustedOrigin(origin) // "" is none
	}
	return func(w *response, r *http.Request) error {
		if protection.Check(r) != nil {
			return errOtherOrigin
		}
		return h(w, r)
	}
}

// changing is a handler of what changes something: it needs a token where there are some, and one of [sameOrigin].
func (s *Service) changing(h handler) handler {
	return s.sameOrigin(func(w *response, r *http.Request) error {
		w.outcome = "history"
		if s.cfg.Builds.History == nil {
			return notFound(w, r)
		}
		if err := s.cfg.Tokens.Check(r); err != nil {
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		return h(w, r)
	})
}

// listBuilds answers GET of /builds.
func (s *Service) listBuilds(w *response, r *http.Request) error {
	f, err := parseFilter(r)
	if err != nil {
		return err
	}
	body := BuildList{Query: r.URL.Query()}
	if f.Before == 0 {
		for _, running := range append(s.cfg.Builds.Recorder.Running(), s.cfg.Builds.Live.Running()...) {
			if f.Matches(running) {
				body.Running = append(body.Running, running)
			}
		}
	}
	results, next := s.cfg.Builds.History.Results(f)
	if body.Builds = results; results == nil {
		body.Builds = []history.Numbered{}
	}
	body.Running = slices.DeleteFunc(body.Running, func(running *history.Result) bool { // that came into the history since
		return slices.ContainsFunc(results, func(n history.Numbered) bool { return n.Result.ID == running.ID && !n.Result.Guessed })
	})
	body.Builds = slices.DeleteFunc(body.Builds, func(n history.Numbered) bool { // that are guessed, and run
		return slices.ContainsFunc(body.Running, func(running *history.Result) bool { return n.Result.ID == running.ID })
	})
	body.Running = body.Running[:min(len(body.Running), cmp.Or(f.Limit, maxResults))]
	if next > 0 {
		body.Cursor = strconv.FormatInt(next, 36)
	}
	return s.show(w, r, "builds", &body)
}

func parseFilter(r *http.Request) (f history.Filter, err error) {
	q := r.URL.Query()
	wrong := func(name, want string) error {
		return k6x.Errorf(k6x.Invalid, "%s=%q is not %s", name, k6x.Clip(q.Get(name)), want)
	}
	f = history.Filter{Extension: q.Get("extension"), Version: q.Get("version"), K6: q.Get("k6"), Path: q.Get("path"), Platform: q.Get("platform"),
		Outcome: history.Outcome(q.Get("outcome"))}
	if f.Outcome != "" && !f.Outcome.Valid() {
		return f, wrong("outcome", "running, built, failed, differs or aborted")
	}
	if text := q.Get("since"); text != "" {
		if age, ageErr := time.ParseDuration(text); ageErr == nil {
			f.Since = time.Now().Add(-age)
		} else if f.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return f, wrong("since", "a time, such as 2026-01-02T15:04:05Z, or an age, such as 24h")
		}
	}
	if text := q.Get("cursor"); text != "" {
		if f.Before, err = strconv.ParseInt(text, 36, 64); err != nil || f.Before < 1 {
			return f, wrong("cursor", "one that an answer had")
		}
	}
	if text := q.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > maxResults {
			return f, wrong("limit", fmt.Sprintf("a number up to %d", maxResults))
		}
	}
	return f, nil
}

// result returns the result of the build that the path of a request names. If wait is set, one that may have begun just now is waited for.
func (s *Service) result(r *http.Request, wait bool) (result *history.Result, err error) {
	id := chi.URLParam(r, "id")
	if result = s.cfg.Builds.Recorder.Result(id); result == nil || result.Guessed && s.cfg.Builds.Live != nil { // which may run all the same
		result, err = s.cfg.Builds.Live.Result(r.Context(), id, wait)
	}
	if result != nil || err != nil {
		return result, err
	}
	return nil, k6x.Errorf(k6x.NotFound, "there is no build %s", k6x.Clip(id)).WithHint("What came of builds is kept for a while only. /builds has what is known.")
}

// oneBuild answers GET of /builds/{id}.
func (s *Service) oneBuild(w *response, r *http.Request) error {
	result, err := s.result(r, s.wantsPage(r)) // a browser comes from POST, perhaps at another service
	if err != nil {
		return err
	}
	build := &Build{Result: result, Instead: s.instead(result)}
	if result.Outcome == history.Running && s.cfg.Builds.Events.Known(result.ID) {
		s.addProgress(build)
	}
	return s.show(w, r, "build", build)
}

// instead returns a choice that may work where a build failed: with the newest version of the extension at fault that was built.
func (s *Service) instead(r *history.Result) []Alternative {
	platform, list, err := k6x.ParsePath(r.Path)
	if r.Outcome != history.Failed || r.Extension == "" || err != nil {
		return nil
	}
	version := s.cfg.Builds.History.LastBuilt(r.Extension, r.Platform)
	for i := range list {
		if list[i].Name != r.Extension && list[i].Name != k6x.K6 {
			continue
		}
		if list[i].Name == k6x.K6 { // the one that goes with it
			list[i].Constraint = k6x.Constraint{}
			continue
		}
		before := list[i].Constraint.Version()
		if list[i], err = k6x.NewDependency(r.Extension, version); err != nil || version == "" || version == before {
			return nil
		}
	}
	return []Alternative{alternative(platform, list)}
}

// addProgress adds how far a build of this service is.
func (s *Service) addProgress(b *Build) {
	if s.cfg.Progress != nil {
		if e, ok := s.cfg.Progress(b.Path); ok && e.Step != 0 {
			b.Step, b.Done, b.Total = e.Step.String(), e.Done, e.Total
		}
	}
	if b.Waiting = !b.Started(); !b.Waiting {
		return
	}
	for _, other := range s.cfg.Builds.Recorder.Running() {
		if other.Outcome == history.Running && !other.Started() && other.Begun.Before(b.Begun) {
			b.Ahead++
		}
	}
}

// startRequest is the body of POST /builds.
type startRequest struct {
	Path string `json:"path"`
}

// startPath returns the path that the body of POST /builds has, as JSON or as a form sends it.
func startPath(w *response, r *http.Request) (string, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBuildRequest))
	var request startRequest
	if err == nil {
		kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if form, notForm := url.ParseQuery(string(body)); kind == formType && notForm == nil && form.Has("path") { // curl -d says so of JSON, too
			return form.Get("path"), nil
		}
		err = json.NewDecoder(bytes.NewReader(body)).Decode(&request)
	}
	if err != nil {
		return "", k6x.Errorf(k6x.Invalid, `the body is not JSON of the form {"path": "/goos/goarch/list"}`).WithCause(err)
	}
	return request.Path, nil
}

// formType is what a form of a page is sent as.
const formType = "application/x-www-form-urlencoded"

// startBuild answers POST of /builds: it starts a build, and does not wait for it.
func (s *Service) startBuild(w *response, r *http.Request) error {
	path, err := startPath(w, r)
	if err != nil {
		return err
	}
	w.asked = path
	platform, list, err := k6x.ParsePath(path)
	if err != nil {
		return err
	}
	want, err := s.permitted(r.Context(), platform, list)
	if err != nil {
		return err
	}
	if want.bound {
		if _, err := s.cfg.Store.Whole(r.Context(), want.recipe.Key()); err == nil {
			return s.redirect(w, http.StatusSeeOther, want.canonical)
		}
	}
	return s.start(w, r, want, builder.Job{Client: w.client}, "")
}

// retryBuild answers POST of /builds/{id}/retry: it builds once more what a build was of. Remembered failures are forgotten; a binary that is kept
// stays, and the bytes are compared.
func (s *Service) retryBuild(w *response, r *http.Request) error {
	result, err := s.result(r, false)
	if err != nil {
		return err
	}
	platform, list, err := k6x.ParsePath(result.Path)
	if err != nil {
		return err
	}
	want, err := s.permitted(r.Context(), platform, list)
	if err != nil {
		return err
	}
	return s.start(w, r, want, builder.Job{Client: w.client, Rebuild: true}, result.ID)
}

// start begins a build for which no request waits, and answers with where it can be watched. Retried is the id of the build that is made
// again, of which the history is told; it may be "".
func (s *Service) start(w *response, r *http.Request, want resolved, job builder.Job, retried string) error {
	joined, failed := make(chan string, 1), make(chan error, 1)
	go func() {
		failed <- s.untilDrained(context.WithoutCancel(r.Context()), func(ctx context.Context) error {
			_, err := s.ensure(ctx, want, job, func(id string) { joined <- id })
			return err
		})
		close(joined)
	}()
	id, ok := <-joined
	if !ok { // no build was joined
		return <-failed
	}
	if err := s.refusal(r.Context(), id, failed); err != nil {
		return err
	}
	if retried != "" {
		if err := s.cfg.Builds.History.Append(r.Context(), history.Entry{Type: history.Retry, Build: retried, Retry: id}); err != nil {
			s.cfg.Logger.Warn("the history does not tell of a build that is made again", "build", retried, "error", err)
		}
	}
	w.Header().Set(buildHeader, id)
	w.Header().Set("Location", s.location("/builds/"+id))
	w.Header().Set("Vary", "Accept")
	if s.wantsPage(r) { // a browser goes there
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	return writeStatus(w, http.StatusAccepted, map[string]string{"id": id, "path": want.canonical})
}

// admission is how long a build may take until it is known whether the queue takes it: one that another service makes is not in the queue here.
const admission = time.Second

// refusal returns the error of a build that the queue does not take, of which nothing would be known. Ended gets the error of the build.
func (s *Service) refusal(ctx context.Context, id string, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, admission)
	defer cancel()
	taken := make(chan struct{})
	go func() {
		for _, e := range s.cfg.Builds.Events.Subscribe(ctx, id, 0) {
			if e.Type == event.Queued || e.Type == event.Started {
				close(taken)
				return
			}
		}
	}()
	select {
	case err := <-ended:
		if kind := k6x.KindOf(err); err != nil && (kind == k6x.Busy || kind == k6x.Quota) {
			return err
		}
	case <-taken:
	case <-ctx.Done():
	}
	return nil
}

// joined names the build that the request waits for.
func (w *response) joined(id string) { w.Header().Set(buildHeader, id) }

// lastEventID is the number that a client that was cut off had last.
func lastEventID(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("since")
	}
	if text = strings.TrimSpace(text); text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, k6x.Errorf(k6x.Invalid, "%q is no number of an event", k6x.Clip(text))
	}
	return n, nil
}
