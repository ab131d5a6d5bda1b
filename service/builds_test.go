package service_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob"
	"k6x/cache/blob/mem"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
	"k6x/service"
)

const brokenPath = "/linux/amd64/k6@v1.1.0,k6/x/broken@v0.1.0"

// newHistoryServer serves stand-ins by a service that keeps what comes of builds in a bucket. The builder of p takes the jobs.
func newHistoryServer(t testing.TB, bucket *mem.Bucket, p parts) *httptest.Server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	h := history.New(journal.New(journal.Config{Bucket: bucket, Poll: 10 * time.Millisecond}), 100, log)
	recorder := history.NewRecorder(h, &mem.Bucket{}, nil, "me", log)
	stream := cmp.Or(p.config.Builds.Events, new(event.Stream))
	inner := p.builder
	p.config.Builds.History, p.config.Builds.Recorder, p.config.Builds.Events = h, recorder, stream
	p.events = event.Tee(stream.Publish, recorder.Publish)
	p.builder = func(real builder.Builder) builder.Builder {
		if inner != nil {
			real = inner(real)
		}
		return builder.NewDedup(real, builder.DedupConfig{Events: p.events})
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { h.Run(ctx); done <- struct{}{} }()
	go func() { recorder.Run(ctx); done <- struct{}{} }()
	server, _ := newServer(t, p)
	t.Cleanup(func() { stop(); <-done; <-done })
	return server
}

// start posts a path to /builds and returns the answer and the URL of the build.
func start(t *testing.T, server *httptest.Server, path string) (*http.Response, string) {
	t.Helper()
	resp, body := send(t, http.MethodPost, server.URL+"/builds", strings.NewReader(`{"path": "`+path+`"}`))
	if resp.StatusCode >= 500 {
		t.Errorf("POST /builds: %d %s", resp.StatusCode, body)
	}
	return resp, server.URL + resp.Header.Get("Location")
}

// watch reads the events of a build to its end.
func watch(t *testing.T, url string, headers ...string) (events []map[string]any) {
	t.Helper()
	resp, body := do(t, http.MethodGet, url+"/events", headers...)
	if resp.StatusCode != http.StatusOK || len(body) == 0 {
		t.Fatalf("GET %s/events: %d %s", url, resp.StatusCode, body)
	}
	for line := range strings.Lines(string(body)) {
		line = strings.TrimPrefix(line, "data: ")
		if strings.HasPrefix(line, "{") {
			e := make(map[string]any)
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events
}

// result waits until the result of a build is in the history.
func result(t *testing.T, server *httptest.Server, url string) (r history.Result) {
	t.Helper()
	id := url[strings.LastIndex(url, "/")+1:]
	for since := 0; ; since++ {
		resp, body := do(t, http.MethodGet, server.URL+"/changes?wait=1m&since="+jsonInt(since))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if !strings.Contains(string(body), `"result":{"id":"`+id) {
			continue
		}
		resp, body = do(t, http.MethodGet, url)
		if err := json.Unmarshal(body, &r); err != nil {
			t.Fatalf("%v: %s\n%s", err, resp.Status, body)
		}
		return r
	}
}

func jsonInt(n int) string {
	text, _ := json.Marshal(n) // a number
	return string(text)
}

func TestABuildCanBeStartedWatchedAndRemembered(t *testing.T) {
	bucket := &mem.Bucket{}
	server := newHistoryServer(t, bucket, parts{})
	resp, url := start(t, server, "/linux/amd64/k6@v1.1.0,k6/x/hello")
	if resp.StatusCode != http.StatusAccepted || !strings.HasSuffix(url, "/builds/"+resp.Header.Get("K6x-Build")) {
		t.Fatalf("%d %s", resp.StatusCode, url)
	}
	events := watch(t, url)
	if first, last := events[0], events[len(events)-1]; first["type"] != "resolved" || last["type"] != "stored" || last["digest"] == nil {
		t.Errorf("events: %v", events)
	}
	for i, e := range events[1:] {
		if e["number"].(float64) <= events[i]["number"].(float64) || e["client"] != nil {
			t.Errorf("event %v behind %v", e, events[i])
		}
	}
	third := jsonInt(int(events[2]["number"].(float64)))
	rest := watch(t, url, "Accept: text/event-stream", "Last-Event-ID: "+third)
	if n := len(rest); n == 0 || rest[0]["number"].(float64) <= events[2]["number"].(float64) || rest[n-1]["number"] != events[len(events)-1]["number"] {
		t.Errorf("behind the third of %v: %v", events, rest)
	}
	if r := result(t, server, url); r.Outcome != history.Built || r.Path != helloPath || r.Digest != events[len(events)-1]["digest"] || len(r.Steps) == 0 ||
		!strings.HasPrefix(r.Toolchain, "go1.") || r.Service != "me" {
		t.Errorf("result: %+v", r)
	}
	if resp, _ := start(t, server, helloPath); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != helloPath {
		t.Errorf("what is stored: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	// Another service on the bucket knows it.
	other := newHistoryServer(t, bucket, parts{})
	there := other.URL + strings.TrimPrefix(url, server.URL)
	if r := result(t, other, there); r.Path != helloPath {
		t.Errorf("result: %+v", r)
	}
	for _, last := range []string{"", "7", "9223372036854775807"} {
		if e := watch(t, there, "Last-Event-ID: "+last); len(e) != 1 || e[0]["type"] != "stored" || e[0]["digest"] != events[len(events)-1]["digest"] || e[0]["number"].(float64) < 1 {
			t.Errorf("events behind %q, of which only the result is known: %v", last, e)
		}
	}
	_, matrix := do(t, http.MethodGet, other.URL+"/matrix?k6=v1.1.0")
	if !strings.Contains(string(matrix), `"extension": "k6/x/hello"`) || !strings.Contains(string(matrix), `"outcome": "untried"`) {
		t.Errorf("matrix: %s", matrix)
	}
}

// The log of a build that has ended is all that there is of it, be it more than what was told while it ran, and more than what is kept of that.
func TestLogsAreWhole(t *testing.T) {
	var lines strings.Builder
	for i := range 300 {
		fmt.Fprintln(&lines, "line", i)
	}
	for _, fails := range []bool{false, true} {
		var sink event.Sink
		server := newHistoryServer(t, &mem.Bucket{}, parts{sink: &sink, builder: func(real builder.Builder) builder.Builder {
			return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
				e := event.Event{Job: job.ID, Path: job.Recipe.Path(), Key: job.Recipe.Key(), Time: time.Now()}
				send := func(kind event.Type) { e.Type = kind; sink(e) }
				send(event.Started)
				if !fails {
					for line := range strings.Lines(lines.String()) {
						e.Output = line
						send(event.Output)
					}
					return real.Build(ctx, job)
				}
				e.Output = "line 0\n"
				send(event.Output)
				e.Output, e.Failure = "", &k6x.Error{Kind: k6x.BuildFailed, Message: "it does not compile", Output: lines.String()}
				send(event.Finished)
				return k6x.Artifact{}, e.Failure
			})
		}})
		_, url := start(t, server, helloPath)
		if r := result(t, server, url); !r.Log || (r.Outcome == history.Failed) != fails {
			t.Errorf("fails %v: %+v", fails, r)
		}
		if resp, log := do(t, http.MethodGet, url+"/log"); resp.StatusCode != http.StatusOK || string(log) != lines.String() {
			t.Errorf("fails %v: %d, the log has %d of %d bytes", fails, resp.StatusCode, len(log), lines.Len())
		}
	}
}

func TestAFailureIsRememberedAndTriedAgain(t *testing.T) {
	bucket := &mem.Bucket{}
	server := newHistoryServer(t, bucket, parts{})
	_, url := start(t, server, brokenPath)
	events := watch(t, url)
	if last := events[len(events)-1]; last["type"] != "failed" || last["kind"] != "build_failed" || last["error"] == "" {
		t.Errorf("events: %v", events)
	}
	if _, log := do(t, http.MethodGet, url+"/log"); !strings.Contains(string(log), "undefined") {
		t.Errorf("log: %s", log)
	}
	if r := result(t, server, url); r.Outcome != history.Failed || r.Kind != "build_failed" || !r.Log {
		t.Errorf("result: %+v", r)
	}
	other := newHistoryServer(t, bucket, parts{})
	there := other.URL + strings.TrimPrefix(url, server.URL)
	result(t, other, there)
	if e, last := watch(t, there), events[len(events)-1]; len(e) != 1 || e[0]["type"] != "failed" || e[0]["kind"] != last["kind"] || e[0]["error"] != last["error"] || e[0]["hint"] != last["hint"] {
		t.Errorf("events of which only the result is known: %v", e)
	}
	if resp, _ := do(t, http.MethodGet, server.URL+brokenPath); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("GET: %d", resp.StatusCode)
	}
	if resp, _ := start(t, server, brokenPath); resp.StatusCode != http.StatusUnprocessableEntity { // remembered
		t.Errorf("POST again: %d", resp.StatusCode)
	}
	resp, _ := send(t, http.MethodPost, url+"/retry", nil)
	again := server.URL + resp.Header.Get("Location")
	if resp.StatusCode != http.StatusAccepted || again == url {
		t.Fatalf("retry: %d %s", resp.StatusCode, again)
	}
	watch(t, again)
	result(t, server, again)
	_, changes := do(t, http.MethodGet, server.URL+"/changes")
	if want := `"type":"retry","build":"` + path.Base(url) + `","retry":"` + path.Base(again) + `"}`; !strings.Contains(string(changes), want) {
		t.Errorf("got %s, want %s", changes, want)
	}
	for query, want := range map[string]int{"": 2, "?outcome=failed": 2, "?outcome=built": 0, "?extension=k6/x/broken&platform=linux/amd64": 2, "?limit=1": 1, "?since=1h": 2} {
		_, body := do(t, http.MethodGet, server.URL+"/builds"+query)
		var list struct {
			Builds []history.Numbered
			Cursor string
		}
		if err := json.Unmarshal(body, &list); err != nil || len(list.Builds) != want || (list.Cursor != "") != (query == "?limit=1") {
			t.Errorf("%s: %s", query, body)
		}
	}
}

func TestAnswersThatAreNotCacheableNameTheBuild(t *testing.T) {
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	var ids []string // of one build, as the second answer is that of the failure which is remembered
	for accept, form := range map[string]string{"text/plain": "\nBuild: %s\n", "application/problem+json": `"build": "%s"`} {
		resp, body := do(t, http.MethodGet, server.URL+brokenPath, "Accept: "+accept)
		id := resp.Header.Get("K6x-Build")
		if ids = append(ids, id); uuid.Validate(id) != nil || id != ids[0] || !strings.Contains(string(body), fmt.Sprintf(form, id)) {
			t.Errorf("%s: build %q, %s", accept, id, body)
		}
	}
	resp, body := send(t, http.MethodPost, server.URL+"/build", strings.NewReader(`{"k6": "v1.1.0", "dependencies": [{"name": "k6/x/broken"}], "platform": "linux/amd64"}`))
	if resp.Header.Get("K6x-Build") != ids[0] || !strings.Contains(string(body), "does not compile") || strings.Contains(string(body), ids[0]) {
		t.Errorf("POST /build: build %q, %s", resp.Header.Get("K6x-Build"), body)
	}
	for range 2 {
		if resp, _ := do(t, http.MethodGet, server.URL+helloPath); resp.StatusCode != http.StatusOK || resp.Header.Get("K6x-Build") != "" {
			t.Errorf("%d, build %q", resp.StatusCode, resp.Header.Get("K6x-Build"))
		}
	}
}

func TestHistoryNeedsATokenUnlessItIsPublic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := service.LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, public := range []bool{false, true} {
		server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Tokens: tokens, Builds: service.Builds{Public: public}}})
		want := map[bool]int{false: http.StatusUnauthorized, true: http.StatusOK}[public]
		for _, path := range []string{"/builds", "/matrix", "/changes"} {
			if resp, _ := do(t, http.MethodGet, server.URL+path); resp.StatusCode != want {
				t.Errorf("public %v, %s: %d", public, path, resp.StatusCode)
			}
			if resp, _ := do(t, http.MethodGet, server.URL+path, "Authorization: Bearer secret"); resp.StatusCode != http.StatusOK {
				t.Errorf("with a token, %s: %d", path, resp.StatusCode)
			}
		}
		if resp, _ := start(t, server, helloPath); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("public %v, POST: %d", public, resp.StatusCode)
		}
	}
}

func TestBadRequestsToTheHistory(t *testing.T) {
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	for target, want := range map[string]int{
		"GET /builds/nope":                                   404,
		"GET /builds/nope/events":                            404,
		"GET /builds/nope/log":                               404,
		"POST /builds/nope/retry":                            404,
		"GET /builds?cursor=%00":                             400,
		"GET /builds?since=yesterday":                        400,
		"GET /builds?outcome=good":                           400,
		"GET /builds?limit=100000":                           400,
		"GET /builds?extension=" + strings.Repeat("x", 5000): 400,
		"GET /changes?since=-1":                              400,
		"GET /changes?wait=soon":                             400,
		"GET /changes?since=0":                               200,
		"POST /builds":                                       400,
		"DELETE /builds":                                     405,
		"GET /builds/a/b/c":                                  404,
	} {
		method, path, _ := strings.Cut(target, " ")
		if resp, body := send(t, method, server.URL+path, strings.NewReader("")); resp.StatusCode != want {
			t.Errorf("%.60s: %d %s", target, resp.StatusCode, body)
		}
	}
	for body, want := range map[string]int{
		`{"path": "/linux/amd64/k6@v1.1.0,k6/x/nope"}`: 404, `{"path": "/plan9/mips/k6"}`: 404, `{"path": 7}`: 400, `{"path": "/x"}`: 400,
	} {
		if resp, answer := send(t, http.MethodPost, server.URL+"/builds", strings.NewReader(body)); resp.StatusCode != want {
			t.Errorf("%s: %d %s", body, resp.StatusCode, answer)
		}
	}
	for path, body := range map[string]string{"/builds": `{"path": "` + helloPath + `"}`, "/build": `{"k6": "v1.1.0", "platform": "linux/amd64"}`, "/resolve": `{"k6": "v1.1.0"}`} {
		for _, header := range []string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"} {
			if resp, answer := send(t, http.MethodPost, server.URL+path, strings.NewReader(body), header); resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s: %d %s", path, header, resp.StatusCode, answer)
			}
		}
	}
}

// HEAD waits for nothing.
func TestHeadOfStreams(t *testing.T) {
	end := make(chan struct{})
	server := newHistoryServer(t, &mem.Bucket{}, parts{builder: func(real builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) { <-end; return real.Build(ctx, job) })
	}})
	defer close(end)
	_, url := start(t, server, helloPath)
	for _, target := range []string{url + "/events", url + "/log", server.URL + "/changes", server.URL + "/changes?wait=1m"} {
		for _, accept := range []string{"text/event-stream", "application/x-ndjson"} {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			req, err := http.NewRequestWithContext(ctx, http.MethodHead, target, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			if resp, err := direct.Do(req); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("HEAD %s: %v, %v", target, resp, err)
			}
			cancel()
		}
	}
}

// Who waits for what comes waits on behind an entry that cannot be read.
func TestEntriesThatCannotBeRead(t *testing.T) {
	bucket := &mem.Bucket{}
	if _, err := journal.New(journal.Config{Bucket: bucket}).AppendBehind(t.Context(), 0, "garbage"); err != nil {
		t.Fatal(err)
	}
	server := newHistoryServer(t, bucket, parts{})
	start(t, server, helloPath)
	if resp, body := do(t, http.MethodGet, server.URL+"/changes?wait=1m"); !strings.HasPrefix(string(body), `{"number":2,`) || resp.Header.Get("K6x-Last") != "2" {
		t.Errorf("got %q, %v", body, resp.Header)
	}
}

// A follower of server-sent events gets what comes.
func TestChangesAreFollowed(t *testing.T) {
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/changes", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, url := start(t, server, helloPath)
	id := url[strings.LastIndex(url, "/")+1:]
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), id) {
			return
		}
	}
	t.Errorf("the stream ended: %v", lines.Err())
}

// away is a bucket that may not answer.
type away struct {
	mem.Bucket
	off atomic.Bool
}

func (a *away) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	if a.off.Load() {
		return nil, blob.Info{}, errors.New("403 Forbidden")
	}
	return a.Bucket.Open(ctx, name, offset)
}

// A bucket that does not answer does not say that there is no such build or log.
func TestBuildsOfOthersWhileTheBucketIsAway(t *testing.T) {
	shared, log := new(away), slog.New(slog.DiscardHandler)
	p := parts{logs: shared}
	recorder := history.NewRecorder(history.New(journal.New(journal.Config{Bucket: shared}), 100, log), &mem.Bucket{}, nil, "me", log)
	p.config.Builds.Live = history.NewLive(history.LiveConfig{Bucket: shared, Recorder: recorder, Every: 10 * time.Millisecond, Logger: log})
	server := newHistoryServer(t, &mem.Bucket{}, p)
	build := "/builds/" + uuid.NewString()
	for _, off := range []bool{false, true} {
		shared.off.Store(off)
		want := http.StatusNotFound
		if off {
			want = http.StatusServiceUnavailable
		}
		for _, path := range []string{build, build + "/events", build + "/log", "/logs/" + strings.Repeat("a", 64)} {
			if resp, body := send(t, http.MethodGet, server.URL+path, nil); resp.StatusCode != want {
				t.Errorf("away %v: %s: %d %s", off, path, resp.StatusCode, body)
			}
		}
	}
}

// A build that another service took for dead, and that is shown again, runs; else the guess counts.
func TestABuildThatWasTakenForDeadRuns(t *testing.T) {
	shared, log, id := &mem.Bucket{}, slog.New(slog.DiscardHandler), uuid.NewString()
	h := history.New(journal.New(journal.Config{Bucket: shared}), 100, log)
	guess := &history.Result{ID: id, Outcome: history.Aborted, Guessed: true}
	if err := h.Append(t.Context(), history.Entry{Type: history.Build, Result: guess}); err != nil {
		t.Fatal(err)
	}
	var p parts
	recorder := history.NewRecorder(h, &mem.Bucket{}, nil, "me", log)
	p.config.Builds.Live = history.NewLive(history.LiveConfig{Bucket: shared, Recorder: recorder, Every: 10 * time.Millisecond, Logger: log})
	server := newHistoryServer(t, shared, p)
	head := fmt.Sprintf(`{"lease":"%064d","result":{"id":"%s","outcome":"running"}}`, 0, id)
	if resp, body := do(t, http.MethodGet, server.URL+"/changes?wait=1m"); resp.StatusCode != http.StatusOK { // the server knows the guess
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for _, want := range []history.Outcome{history.Aborted, history.Running} {
		_, body := do(t, http.MethodGet, server.URL+"/builds/"+id)
		if got := new(history.Result); json.Unmarshal(body, got) != nil || got.Outcome != want {
			t.Errorf("got %s, want %s", body, want)
		}
		if err := blob.PutBytes(t.Context(), shared, "running/builds/"+id, []byte(head), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
