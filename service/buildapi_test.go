package service_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache/bucket"
	"k6x/event"
	"k6x/service"
)

const helloBody = `{"k6": "v1.1.0", "dependencies": [{"name": "k6/x/hello", "constraints": "v0.1.1"}], "platform": "linux/amd64"}`

// post sends a body and returns the answer.
func post(t testing.TB, url, body string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	return send(t, http.MethodPost, url, strings.NewReader(body), headers...)
}

var (
	digests = regexp.MustCompile(`"(id|checksum)":"[0-9a-f]{64}"`)
	etags   = regexp.MustCompile(`(Etag: )"[0-9a-f]{64}"`)
)

// wireAPI is wire for answers of the build API.
func wireAPI(resp *http.Response, body []byte) string {
	return etags.ReplaceAllString(digests.ReplaceAllString(wire(resp, body), `"$1":"DIGEST"`), `$1"…"`)
}

// artifact is what clients read of an answer.
type artifact struct {
	ID, URL, Platform, Checksum string
	Dependencies                map[string]string
	K6ModPath                   string `json:"k6_mod_path"`
	Warnings                    []string
}

func artifactOf(t testing.TB, body []byte) artifact {
	t.Helper()
	var answer struct{ Artifact artifact }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Artifact.ID == "" {
		t.Fatalf("%v in %s", err, body)
	}
	return answer.Artifact
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// reasonOf returns the innermost reason of an error, "" if there is none.
func reasonOf(t testing.TB, body []byte) string {
	t.Helper()
	type reason struct {
		Error  string
		Reason *reason
	}
	var answer struct{ Error *reason }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if answer.Error == nil {
		return ""
	}
	r := answer.Error
	for r.Reason != nil {
		r = r.Reason
	}
	return r.Error
}

// Each answer of the build API, as it stands on the wire.
func TestBuildAPIOnTheWire(t *testing.T) {
	server, _ := newServer(t, parts{config: service.Config{BuildMaxAge: time.Hour}})
	const query = "/build?platform=linux/amd64&k6=v1.1.0&dep=k6/x/hello:v0.1.1"
	first, built := post(t, server.URL+"/build", helloBody)
	golden(t, "build-200-built", wireAPI(first, built))
	resp, _ := do(t, "GET", server.URL+query)
	etag := resp.Header.Get("Etag")
	body := func(k6, deps, more string) string {
		return `{"k6": "` + k6 + `", "dependencies": [` + deps + `], "platform": "linux/amd64"` + more + `}`
	}
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
	}{
		{"build-200-hit", "POST", "/build", helloBody, nil},
		{"build-200-slash", "POST", "/build/", helloBody, nil},
		{"build-200-slashes", "POST", "//build", helloBody, nil},
		{"build-200-open", "POST", "/build", body("*", `{"name": "k6/x/hello", "constraints": "<0.2"}`, ""), nil},
		{"build-200-warnings", "POST", "/build", body("", `{"name": "k6/x/world"}`, ""), nil},
		{"build-200-k6-alone", "POST", "/build", body(">=v1", ``, `, "k6_mod_path": "go.k6.io/k6"`), nil},
		{"build-200-unknown-name", "POST", "/build", body("", `{"name": "k6/x/hallo", "constraints": "*"}`, ""), nil},
		{"build-200-unsatisfiable", "POST", "/build", body("", `{"name": "k6/x/hello", "constraints": ">7"}`, ""), nil},
		{"build-200-no-such-version", "POST", "/build", body("", `{"name": "k6/x/hello", "constraints": "v7.0.0"}`, ""), nil},
		{"build-200-conflict", "POST", "/build", body("v1.0.0", `{"name": "k6/x/newer", "constraints": "v0.2.0"}`, ""), nil},
		{"build-200-forbidden", "POST", "/build", body("", `{"name": "k6/x/cgo"}`, ""), nil},
		{"build-200-compile", "POST", "/build", body("", `{"name": "k6/x/broken"}`, ""), nil},
		{"build-200-platform", "POST", "/build", `{"platform": "linux/riscv64"}`, nil},
		{"build-200-no-platform", "POST", "/build", `{"k6": "*"}`, nil},
		{"build-200-bad-constraint", "POST", "/build", body("", `{"name": "k6/x/hello", "constraints": "banana"}`, ""), nil},
		{"build-200-bad-name", "POST", "/build", body("", `{"name": "../etc"}`, ""), nil},
		{"build-200-twice", "POST", "/build", body("v1.1.0", `{"name": "k6", "constraints": "v1.0.0"}`, ""), nil},
		{"build-200-other-major", "POST", "/build", body("v2.0.0", ``, ""), nil},
		{"build-200-mod-path", "POST", "/build", body("", ``, `, "k6_mod_path": "example.com/k6"`), nil},
		{"build-400-empty", "POST", "/build", "", nil},
		{"build-400-no-json", "POST", "/build", "k6=v1", nil},
		{"build-400-unknown-field", "POST", "/build", `{"k6": "*", "plattform": "linux/amd64"}`, nil},
		{"build-400-type", "POST", "/build", `{"k6": 1}`, nil},
		{"build-400-array", "POST", "/build", `[]`, nil},
		{"build-400-null", "POST", "/build", `null`, nil},
		{"build-400-trailing", "POST", "/build", helloBody + `{}`, nil},
		{"build-400-half", "POST", "/build", `{"k6":`, nil},
		{"build-400-large", "POST", "/build", `{"k6": "` + strings.Repeat("x", 1<<16) + `"}`, nil},
		{"build-405", "DELETE", "/build", "", nil},
		{"query-200", "GET", query, "", nil},
		{"query-200-slash", "GET", "/build/?platform=linux/amd64&k6=v1.1.0&dep=k6/x/hello:v0.1.1", "", nil},
		{"query-200-head", "HEAD", query, "", nil},
		{"query-200-open", "GET", "/build?platform=linux/amd64&dep=k6/x/world:%3E%3D0.1&dep=k6/x/hello:%3C0.2", "", nil},
		{"query-200-unknown-name", "GET", "/build?platform=linux/amd64&dep=subcommand:docs:v1.0.0", "", nil},
		{"query-304", "GET", query, "", []string{"If-None-Match: " + etag}},
		{"query-400-unknown-parameter", "GET", query + "&x=1", "", nil},
		{"query-400-twice", "GET", query + "&k6=v1.1.0", "", nil},
		{"query-400-nocache", "GET", query + "&nocache=banana", "", nil},
		{"query-400-escape", "GET", "/build?platform=%zz", "", nil},
		{"resolve-200", "POST", "/resolve", `{"k6": "*", "dependencies": [{"name": "k6/x/hello", "constraints": "<0.2"}]}`, nil},
		{"resolve-200-slash", "POST", "/resolve/", `{}`, nil},
		{"resolve-200-unsatisfiable", "POST", "/resolve", `{"k6": ">9"}`, nil},
		{"resolve-400-type", "POST", "/resolve", `{"k6": true}`, nil},
		{"resolve-405", "GET", "/resolve", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var resp *http.Response
			var answer []byte
			if c.method == "POST" {
				resp, answer = post(t, server.URL+c.path, c.body, c.headers...)
			} else {
				resp, answer = do(t, c.method, server.URL+c.path, c.headers...)
			}
			if !strings.Contains(c.name, "-"+resp.Status[:3]) {
				t.Errorf("%s", resp.Status)
			}
			golden(t, c.name, wireAPI(resp, answer))
			if strings.HasPrefix(c.name, "build-200-hit") && !bytes.Equal(answer, built) {
				t.Errorf("the answer of a hit differs from that of the build:\n%s\n%s", answer, built)
			}
		})
	}
	_, metrics := do(t, "GET", server.URL+"/metrics")
	for _, line := range []string{"k6build_builds_invalid_total 13", "k6build_requests_total 27"} {
		if !strings.Contains(string(metrics), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, regexp.MustCompile(`(?m)^k6build_\w+ .*$`).FindAllString(string(metrics), -1))
		}
	}
}

func TestBuildMetricsCountWithTheNamesOfK6build(t *testing.T) {
	m, store := service.NewMetrics(), bucket.Memory(bucket.Config{})
	m.Count(event.Event{Job: "a", Type: event.Finished, Duration: time.Second, Failure: k6x.Errorf(k6x.NoSpace, "full")}) // and it is tried again
	m.Count(event.Event{Job: "b", Type: event.Finished, Duration: time.Second, Failure: k6x.Errorf(k6x.Internal, "no")})
	m.Count(event.Event{Job: "a", Type: event.Finished, Duration: time.Second})
	m.Count(event.Event{Job: "b", Type: event.Failed, Failure: k6x.Errorf(k6x.Internal, "no")})
	m.Count(event.Event{Job: "a", Type: event.Stored})
	m.Count(event.Event{Job: "c", Type: event.Failed, Failure: k6x.Errorf(k6x.Internal, "no")}) // no engine came to it
	server, _ := newServer(t, parts{config: service.Config{Metrics: m, Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(&wavering{}, store, nil)
	}})
	for range 2 {
		post(t, server.URL+"/build", helloBody)
	}
	_, metrics := do(t, "GET", server.URL+"/metrics")
	for _, line := range []string{"k6build_builds_total 2", "k6build_builds_failed_total 1", "k6build_object_store_hits_total 1",
		"k6build_requests_total 2", "k6build_request_duration_seconds_count 2", "k6build_build_duration_seconds_count 1", "k6build_builds_invalid_total 0"} {
		if !strings.Contains(string(metrics), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, metrics)
		}
	}
}

// What k6build counts is what dashboards of it show: requests for builds, and the time of those that end well.
func TestRequestsAreCountedAsK6buildCountsThem(t *testing.T) {
	server, _ := newServer(t, quick(service.Config{}))
	post(t, server.URL+"/build", helloBody)
	do(t, "GET", server.URL+helloPath)
	do(t, "GET", server.URL+"/build?x=1")
	post(t, server.URL+"/build", "{")
	post(t, server.URL+"/build", `{"platform": "linux/amd64", "k6": ">9"}`)
	post(t, server.URL+"/resolve", `{"k6": ">9"}`)
	_, metrics := do(t, "GET", server.URL+"/metrics")
	for _, line := range []string{"k6build_requests_total 2", "k6build_request_duration_seconds_count 1", "k6build_builds_invalid_total 1", "k6build_object_store_hits_total 0"} {
		if !strings.Contains(string(metrics), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, regexp.MustCompile(`(?m)^k6build_\w+ .*$`).FindAllString(string(metrics), -1))
		}
	}
}

// K6build names an answer by the artifact, and says for how long it may be kept if the operator has said so.
func TestAnswersHaveTheCachingHeadersOfK6build(t *testing.T) {
	const query = "/build?platform=linux/amd64&k6=v1.1.0&dep=k6/x/hello:v0.1.1"
	for age, want := range map[time.Duration][2]string{0: {"no-store", "no-cache"}, 90 * time.Minute: {"max-age=5400", "max-age=5400"}} {
		server, _ := newServer(t, quick(service.Config{BuildMaxAge: age}))
		posted, body := post(t, server.URL+"/build", helloBody)
		got, _ := do(t, "GET", server.URL+query)
		tag := `"` + artifactOf(t, body).ID + `"`
		for i, resp := range []*http.Response{posted, got} {
			if resp.Header.Get("Etag") != tag || resp.Header.Get("Cache-Control") != want[i] {
				t.Errorf("%s: %v, want the tag %s and %s", resp.Request.Method, resp.Header, tag, want[i])
			}
		}
		for _, resp := range []*http.Response{
			first(post(t, server.URL+"/build", strings.Replace(helloBody, "}]", "}], \"nocache\": true", 1))), first(do(t, "GET", server.URL+query+"&nocache=true")),
			first(post(t, server.URL+"/build", `{"platform": "beos/mips"}`)),
		} {
			if resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v", resp.Request.URL, resp.Header)
			}
		}
	}
}

func first(resp *http.Response, _ []byte) *http.Response { return resp }

// What cannot be brought about at will is told by a builder that fails so. K6 has to see all of it.
func TestFailuresOfABuildOnTheWireOfTheAPI(t *testing.T) {
	retry := k6x.Errorf(k6x.Busy, "2 builds are running and 64 are waiting; there is no room for more")
	retry.RetryAfter = 90 * time.Second
	for name, err := range map[string]error{
		"build-200-quota":       k6x.Errorf(k6x.Quota, "this client has 16 builds waiting").WithHint("Try again later."),
		"build-200-internal":    errors.New("open /secret/path"),
		"build-200-busy":        retry,
		"build-200-unavailable": k6x.Errorf(k6x.Unavailable, "the module proxy does not answer"),
		"build-200-timeout":     k6x.Errorf(k6x.Timeout, "the build took longer than 15m0s"),
		"build-200-no-space":    k6x.Errorf(k6x.NoSpace, "there is no room to keep the binary"),
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := newServer(t, parts{builder: failing(err)})
			resp, body := post(t, server.URL+"/build", helloBody)
			golden(t, name, wireAPI(resp, body))
		})
	}
}

func TestTheURLOfAnAnswerHasTheBytesOfItsChecksum(t *testing.T) {
	server, _ := newServer(t, parts{})
	_, body := post(t, server.URL+"/build", strings.Replace(helloBody, `"v0.1.1"`, `"^0.1"`, 1))
	a := artifactOf(t, body)
	resp, bytes := do(t, "GET", a.URL)
	if a.URL != server.URL+helloPath || resp.StatusCode != 200 || digestOf(bytes) != a.Checksum || a.ID != a.Checksum {
		t.Errorf("%+v: %s, digest %s", a, resp.Status, digestOf(bytes))
	}
}

// What a path was bound to by an earlier toolchain is what the API names, also for who
// leaves the versions open.
func TestOpenRequestsOfTheAPIGetWhatThePathIsBoundTo(t *testing.T) {
	store := bucket.Memory(bucket.Config{})
	server, _ := newServer(t, parts{config: service.Config{Store: store}})
	_, body := post(t, server.URL+"/build", helloBody)
	want := artifactOf(t, body)
	server, _ = newServer(t, parts{config: service.Config{Store: store}, layout: 99, builder: failing(k6x.Errorf(k6x.Internal, "must not build"))})
	_, body = post(t, server.URL+"/build", strings.Replace(helloBody, `"v0.1.1"`, `"^0.1"`, 1))
	if got := artifactOf(t, body); got.ID != want.ID {
		t.Errorf("%s, want %s", got.ID, want.ID)
	}
}

func TestIdenticalRequestsThatFailCostOneBuildAndTheFailureIsForgotten(t *testing.T) {
	const body = `{"dependencies": [{"name": "k6/x/broken"}], "platform": "linux/amd64"}`
	for life, want := range map[time.Duration]int32{time.Hour: 1, time.Nanosecond: 2} {
		var builds atomic.Int32
		requests := 20
		if want > 1 {
			requests = 2
		}
		server, _ := newServer(t, parts{builder: func(real builder.Builder) builder.Builder {
			return builder.NewDedup(builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
				builds.Add(1)
				return real.Build(ctx, job)
			}), builder.DedupConfig{FailureLife: life})
		}})
		reasons := make(chan string, requests)
		for range requests {
			ask := func() {
				_, answer := post(t, server.URL+"/build", body)
				reasons <- reasonOf(t, answer)
			}
			if want > 1 {
				ask()
			} else {
				go ask()
			}
		}
		for range requests {
			if reason := <-reasons; !strings.Contains(reason, "undefined: fortyTwo") || !strings.Contains(reason, "/logs/") {
				t.Errorf("%s", reason)
			}
		}
		if n := builds.Load(); n != want {
			t.Errorf("%d builds for %d requests when a failure lives for %s, want %d", n, requests, life, want)
		}
	}
}

// wavering is an engine whose bytes differ from build to build if it is told so.
type wavering struct {
	builds   atomic.Int32
	differ   bool
	warnings []string
}

func (e *wavering) Build(_ context.Context, _ builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
	n := e.builds.Add(1)
	if !e.differ {
		n = 0
	}
	_, err := w.Write([]byte{'k', '6', byte(n)})
	return k6x.Build{Warnings: e.warnings}, err
}

func TestWarningsOfABuildComeWithItsBytesAndItsDescription(t *testing.T) {
	engine, store := &wavering{warnings: []string{"a.go and\nb.gö", "c"}}, bucket.Memory(bucket.Config{})
	server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(engine, store, nil)
	}})
	for _, when := range []string{"built", "kept"} {
		_, answer := post(t, server.URL+"/build", helloBody)
		if got := artifactOf(t, answer).Warnings; !slices.Equal(got, engine.warnings) {
			t.Errorf("%s: described with %q", when, got)
		}
		resp, _ := do(t, "GET", server.URL+helloPath)
		if got, want := resp.Header.Values("K6x-Warning"), []string{`a.go and\nb.g\u00f6`, "c"}; !slices.Equal(got, want) {
			t.Errorf("%s: sent with %q, want %q", when, got, want)
		}
	}
}

func TestNocacheBuildsAgainAndChangesNothing(t *testing.T) {
	for _, differ := range []bool{false, true} {
		engine, store := &wavering{differ: differ}, bucket.Memory(bucket.Config{})
		server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
			return builder.NewDedup(builder.Keep(engine, store, nil), builder.DedupConfig{})
		}})
		_, answer := post(t, server.URL+"/build", strings.TrimSuffix(helloBody, "}")+`, "nocache": true}`)
		first := artifactOf(t, answer) // there was nothing: an ordinary build
		_, want := do(t, "GET", first.URL)
		resp, answer := do(t, "GET", server.URL+"/build?platform=linux/amd64&k6=v1.1.0&dep=k6/x/hello:v0.1.1&nocache=true")
		again := artifactOf(t, answer)
		if n := engine.builds.Load(); n != 2 {
			t.Errorf("%d builds", n)
		}
		if again.ID != first.ID || len(first.Warnings) != 0 || (len(again.Warnings) == 1) != differ {
			t.Errorf("first %+v, then %+v", first, again)
		}
		if got := resp.Header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control: %s", got)
		}
		if _, got := do(t, "GET", first.URL); !bytes.Equal(got, want) {
			t.Error("the bytes changed")
		}
	}
}

func TestDrainSendsWaitersOfTheAPIAway(t *testing.T) {
	waits := make(chan struct{})
	server, s := newServer(t, parts{builder: func(builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, _ builder.Job) (k6x.Artifact, error) {
			close(waits)
			<-ctx.Done()
			return k6x.Artifact{}, ctx.Err()
		})
	}})
	answered := make(chan string)
	go func() {
		_, body := post(t, server.URL+"/build", helloBody)
		answered <- reasonOf(t, body)
	}()
	<-waits
	s.Drain()
	if reason := <-answered; !strings.Contains(reason, "about to stop") {
		t.Errorf("who waits gets %q", reason)
	}
	if _, body := post(t, server.URL+"/build", helloBody); !strings.Contains(reasonOf(t, body), "about to stop") {
		t.Errorf("who comes gets %s", body)
	}
}
