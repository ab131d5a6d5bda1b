package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"k6x"
	"k6x/buildcache"
	"k6x/builder"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
	"k6x/internal/testmod"
	"k6x/service"
)

// newWithWorkers makes a service with these options for workers, whose files of tokens have a token named as the file.
func newWithWorkers(t *testing.T, dir string, o WorkersOptions, change ...func(*Options)) (*App, error) {
	t.Helper()
	for _, file := range []*string{&o.TokenFile, &o.OperatorFile} {
		if *file != "" {
			name := filepath.Join(t.TempDir(), *file)
			if err := os.WriteFile(name, []byte(*file+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			*file = name
		}
	}
	all := Options{
		CacheDir: dir, Registries: []string{"../../../testdata/registry.json"}, MaxBuilds: 2, Lifetime: builder.Resident, Workers: o,
		GoOptions: GoOptions{Env: []string{"GOPROXY=" + testmod.Serve(t, "../../../testdata/standin"), "GOSUMDB=off"}},
	}
	for _, f := range change {
		f(&all)
	}
	return New(t.Context(), all, slog.New(slog.DiscardHandler))
}

func TestWhoMayDoWhatWithWorkers(t *testing.T) {
	const register = `{"name":"w1","instance":"x","wire":1}`
	for _, c := range []struct {
		name             string
		options          WorkersOptions
		path, body, says string
		token            string
		status           int
	}{
		{"no workers", WorkersOptions{}, "/worker/register", register, "without --workers", "worker", 404},
		{"no workers to change", WorkersOptions{}, "/workers/w1/drain", "", "without --workers", "operator", 404},
		{"a worker", WorkersOptions{On: true, TokenFile: "worker"}, "/worker/register", register, `"password"`, "worker", 200},
		{"no token", WorkersOptions{On: true, TokenFile: "worker"}, "/worker/register", register, "token", "", 401},
		{"an operator is no worker", WorkersOptions{On: true, TokenFile: "worker", OperatorFile: "operator"}, "/worker/register", register, "token", "operator", 401},
		{"a bad name", WorkersOptions{On: true, TokenFile: "worker"}, "/worker/register", `{"name":"a.b","instance":"x","wire":1}`, "name of letters", "worker", 400},
		{"no operators", WorkersOptions{On: true, TokenFile: "worker"}, "/workers/w1/drain", "", "operator-token-file", "worker", 403},
		{"a worker is no operator", WorkersOptions{On: true, TokenFile: "worker", OperatorFile: "operator"}, "/workers/w1/drain", "", "token", "worker", 401},
		{"nobody of that name", WorkersOptions{On: true, TokenFile: "worker", OperatorFile: "operator"}, "/workers/w1/drain", "", "no worker w1", "operator", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := newWithWorkers(t, t.TempDir(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, c.path, strings.NewReader(c.body))
			r.Header.Set("Authorization", "Bearer "+c.token)
			w := httptest.NewRecorder()
			a.Service.ServeHTTP(w, r)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		})
	}
}

func TestStatusOfAServiceThatBuildsNothingItself(t *testing.T) {
	a, err := newWithWorkers(t, t.TempDir(), WorkersOptions{On: true, TokenFile: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	w := httptest.NewRecorder()
	a.Service.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status.json", nil))
	var status struct {
		Problems []struct{ Kind, Message string }
		Pools    []struct {
			Name  string
			Slots int
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil || len(status.Pools) != 2 || status.Pools[0].Slots != 0 || status.Pools[1].Name != "workers" ||
		len(status.Problems) != 1 || status.Problems[0].Kind != "workers" {
		t.Errorf("%v: %+v", err, status)
	}
	w = httptest.NewRecorder()
	a.Service.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/worker/nats", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

// The service is the first to build for a platform, so that workers have something to read: not what is to be compared, and not with a Go that
// only a worker may have.
func TestTheServiceCompilesFirst(t *testing.T) {
	a, err := newWithWorkers(t, t.TempDir(), WorkersOptions{On: true, TokenFile: "worker", BuildHere: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	job := builder.Job{Recipe: k6x.Recipe{Settings: a.engine.Settings(), Platform: k6x.Platform{OS: "linux", Arch: "amd64"}}}
	other, alone := job, job
	other.Recipe.Toolchain, alone.Alone = "go1.20.1", true
	for i, c := range []struct {
		job  builder.Job
		want bool
	}{{other, false}, {alone, false}, {job, true}, {job, false}} {
		if got := a.compilesFirst(c.job); got != c.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}

// What is offered to workers makes room, as Go's build cache does.
func TestWhatIsOfferedToWorkersMakesRoomOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	a, err := newWithWorkers(t, dir, WorkersOptions{On: true, TokenFile: "worker", BuildHere: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	builds, err := buildcache.New(buildcache.Config{Dir: t.TempDir(), Remote: a.tools.Shared.remote})
	if err != nil {
		t.Fatal(err)
	}
	session, err := builds.Start(buildcache.Build{Scope: "x"})
	if err != nil {
		t.Fatal(err)
	}
	body := []byte("compiled")
	if _, err := session.Put(t.Context(), buildcache.ID{}, sha256.Sum256(body), int64(len(body)), bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	session.Close()
	builds.Close(t.Context()) // once all is sent
	packs := func() []string {
		list, _ := filepath.Glob(filepath.Join(dir, "offered", "packs", "*"))
		return list
	}
	if len(packs()) != 1 {
		t.Fatalf("offered: %q", packs())
	}
	if removed := a.trimCaches(t.Context()); !removed || len(packs()) > 0 {
		t.Errorf("%t, and there is %q", removed, packs())
	}
}

func TestOneServiceHasANATSInADirectory(t *testing.T) {
	dir := t.TempDir()
	a, err := newWithWorkers(t, dir, WorkersOptions{On: true, TokenFile: "worker", BuildHere: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newWithWorkers(t, dir, WorkersOptions{On: true, TokenFile: "worker"}); k6x.KindOf(err) != k6x.Invalid || !strings.Contains(k6x.AsError(err).Hint, "--nats") {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := newWithWorkers(t, dir, WorkersOptions{On: true}); err == nil || !strings.Contains(err.Error(), "--worker-token-file") {
		t.Error(err)
	}
	a, err = newWithWorkers(t, dir, WorkersOptions{On: true, TokenFile: "worker"})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// Of services on one bucket, one has a NATS of its own: workers that dial it would not build for the others.
func TestOneServiceOnABucketHasANATSOfItsOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it waits for longer than a service that died would hold on to it")
	}
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	on := func(o *Options) {
		o.Store = "s3://bucket?region=us-east-1&s3ForcePathStyle=true&endpoint=" + url.QueryEscape(server.URL)
	}
	first, err := newWithWorkers(t, t.TempDir(), WorkersOptions{On: true, TokenFile: "worker", BuildHere: true}, on)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newWithWorkers(t, t.TempDir(), WorkersOptions{On: true, TokenFile: "worker"}, on); k6x.KindOf(err) != k6x.Invalid || !strings.Contains(err.Error(), "on this bucket") {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second, err := newWithWorkers(t, t.TempDir(), WorkersOptions{On: true, TokenFile: "worker"}, on)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func TestTokensOfWorkersAndOperatorsAreReadAgain(t *testing.T) {
	a, err := newWithWorkers(t, t.TempDir(), WorkersOptions{On: true, TokenFile: "worker", OperatorFile: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, name := range []string{a.options.Workers.TokenFile, a.options.Workers.OperatorFile} {
		info, err := os.Stat(name)
		if err == nil {
			err = os.WriteFile(name, bytes.Repeat([]byte("x"), int(info.Size())), 0o600) // of the same size, and time
		}
		if err == nil {
			err = os.Chtimes(name, info.ModTime(), info.ModTime())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	signals, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		a.reloads(ctx, signals)
	}()
	signals <- struct{}{}
	signals <- struct{}{} // when it is done with the first
	cancel()
	<-ended
	for old, path := range map[string]string{"worker": "/worker/register", "operator": "/workers/w1/drain"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(`{"name":"w1","instance":"x","wire":1}`))
		r.Header.Set("Authorization", "Bearer "+old)
		w := httptest.NewRecorder()
		if a.Service.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d: %s", path, w.Code, w.Body)
		}
	}
}

// A build that is lost is tried again. What comes of it in the end is logged, and that the worker lost it.
func TestWhatIsTriedAgainIsNotLoggedAsAFailure(t *testing.T) {
	for says, cause := range map[string]error{"": &builder.Lost{Worker: "w1", Taken: true}, "build failed": nil} {
		var log strings.Builder
		logBuilds(slog.New(slog.NewTextHandler(&log, nil)))(event.Event{Type: event.Finished, Failure: k6x.Errorf(k6x.Unavailable, "gone").WithCause(cause)})
		if !strings.Contains(log.String(), says) || says == "" && log.Len() > 0 {
			t.Errorf("%v: %s", cause, log.String())
		}
	}
}

// Who has a token can have thousands of workers quarantined: the history tells of some, and has room for what else happens.
func TestTheHistoryTellsOfFewWorkersAnHour(t *testing.T) {
	h := history.New(journal.New(journal.Config{Bucket: &mem.Bucket{}}), 1000, slog.New(slog.DiscardHandler))
	a := &App{builds: service.Builds{History: h}, logger: slog.New(slog.DiscardHandler)}
	tell := func(want int) {
		t.Helper()
		for range newsMost + 5 {
			a.quarantined("w1", "bad", map[string]bool{"w1": true})
		}
		if entries, _, err := h.Changes(t.Context(), 0, 1000); err != nil || len(entries) != want {
			t.Errorf("%d entries, %v: want %d", len(entries), err, want)
		}
	}
	tell(newsMost)
	for i := range a.told[:3] {
		a.told[i] = a.told[i].Add(-newsEach)
	}
	tell(newsMost + 3)
}
