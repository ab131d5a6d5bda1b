package client_test

import (
	"bytes"
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/client"
	"k6x/event"
	"k6x/internal/testmod"
	"k6x/resolver"
	"k6x/service"
)

// gated is an engine that takes no compiler, and begins when it is told to.
type gated chan struct{}

func (g gated) Build(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	report.Progress(event.Compiling, "", 1, 3)
	select {
	case <-g:
	case <-ctx.Done():
		return k6x.Build{}, ctx.Err()
	}
	for _, m := range job.Recipe.Extensions {
		if strings.HasSuffix(m.Path, "broken") {
			return k6x.Build{}, k6x.Errorf(k6x.BuildFailed, "%s does not compile:\nx.go:1: no", m.Label())
		}
	}
	_, err := w.Write(bytes.Repeat([]byte(job.Recipe.Path()), 10_000))
	return k6x.Build{}, err
}

// realService starts the service, which builds for clients with the token, and redirects a client to itself after it has
// waited.
func realService(t *testing.T, engine builder.Engine, wait time.Duration) string {
	t.Helper()
	dir := t.TempDir()
	registry, tokens := filepath.Join(dir, "registry.json"), filepath.Join(dir, "tokens")
	for name, text := range map[string]string{tokens: "a-good-token\n", registry: `{
		"k6": {"module": "go.k6.io/k6", "versions": ["v1.0.0", "v1.1.0"]},
		"k6/x/hello": {"module": "example.com/xk6-hello", "versions": ["v0.1.0", "v0.1.1"]},
		"k6/x/broken": {"module": "example.com/xk6-broken", "versions": ["v0.1.0"]}}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := resolver.New(t.Context(), resolver.Config{
		Registries: []string{registry}, Dir: filepath.Join(dir, "resolver"),
		Env: append(os.Environ(), "GOPROXY="+testmod.Serve(t, "../testdata/standin"), "GOSUMDB=off"),
	})
	if err != nil {
		t.Fatal(err)
	}
	logs, err := cache.OpenLogs(filepath.Join(dir, "logs"), 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := service.LoadTokens(tokens)
	if err != nil {
		t.Fatal(err)
	}
	store := bucket.Memory(bucket.Config{})
	var events event.Stream
	server := httptest.NewServer(service.New(service.Config{
		Resolver: r, Logs: logs, Store: store, MaxWait: wait, Tokens: allowed,
		Builder:  builder.NewDedup(builder.Keep(engine, store, events.Publish), builder.DedupConfig{}),
		Settings: k6x.Settings{Toolchain: "go1.26.0"}, Progress: events.Running,
	}))
	t.Cleanup(server.Close)
	return server.URL + "/"
}

// The client and the service understand each other: redirects, rounds of waiting, digests, tokens, errors.
func TestARealService(t *testing.T) {
	gate := make(gated)
	service := realService(t, gate, 500*time.Millisecond)
	base, err := client.ParseBase(service)
	if err != nil {
		t.Fatal(err)
	}
	var rounds []string
	c := &client.Client{Base: base, Token: "a-good-token", Tries: 1, Progress: func(e client.Event) {
		if e.Step == client.Building {
			_, round, _ := strings.Cut(e.URL, "round=")
			if rounds = append(rounds, round); round == "2" && e.Doing == "" {
				close(gate)
			}
		}
	}}
	platform := k6x.Platform{OS: "linux", Arch: "amd64"}
	parse := func(s string) k6x.List {
		list, err := k6x.ParseList(s)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	requested := parse("k6/x/hello@<0.2")
	stranger := &client.Client{Base: base}
	if _, err := stranger.Fetch(t.Context(), platform, requested, temp(t)); k6x.KindOf(err) != k6x.Unauthorized {
		t.Errorf("without a token: %v", err)
	}
	pinned, err := stranger.Resolve(t.Context(), platform, requested)
	if want := "k6@v1.1.0,k6/x/hello@v0.1.1"; err != nil || pinned.String() != want {
		t.Errorf("resolved to %s, %v; want %s", pinned, err, want)
	}
	made, err := c.Fetch(t.Context(), platform, requested, temp(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := service + "linux/amd64/k6@v1.1.0,k6/x/hello@v0.1.1"; made.URL != want || len(rounds) < 3 || !slices.IsSorted(rounds) {
		t.Errorf("%s after rounds %v, want %s", made.URL, rounds, want)
	}
	file := temp(t)
	if got, err := stranger.Fetch(t.Context(), platform, pinned, file); err != nil || got.Digest != made.Digest || got.Size != made.Size {
		t.Errorf("%+v, %v", got, err)
	}
	if info, err := file.Stat(); err != nil || info.Size() != made.Size || made.Size == 0 {
		t.Errorf("%+v, %v", info, err)
	}
	for requested, want := range map[string]k6x.Error{
		"k6/x/hallo":    {Kind: k6x.NotFound, Message: "k6/x/hallo is not in the registry", Hint: "Did you mean k6/x/hello?"},
		"k6/x/hello@>9": {Kind: k6x.NotFound, Message: "no version of k6/x/hello satisfies >9", Hint: "There are v0.1.1, v0.1.0."},
		"k6/x/broken":   {Kind: k6x.BuildFailed, Message: "k6/x/broken (example.com/xk6-broken@v0.1.0) does not compile:\nx.go:1: no"},
	} {
		_, err = c.Fetch(t.Context(), platform, parse(requested), temp(t))
		if e := k6x.AsError(err); e.Kind != want.Kind || e.Message != want.Message || !strings.HasPrefix(e.Hint, want.Hint) {
			t.Errorf("%s: %s: %q, hint %q", requested, e.Kind, e.Message, e.Hint)
		}
	}
}

func temp(t *testing.T) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "k6"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// While a service builds, its client reports the steps of the build.
func TestAClientReportsTheStepsOfABuild(t *testing.T) {
	gate := make(gated)
	base, err := client.ParseBase(realService(t, gate, 0))
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	c := &client.Client{Base: base, Token: "a-good-token", Tries: 1, Progress: func(e client.Event) {
		if e.Step == client.Building && e.Doing != "" {
			if steps = append(steps, e.Doing); len(steps) == 1 {
				close(gate)
			}
		}
	}}
	list, err := k6x.ParseList("k6@v1.1.0,k6/x/hello@v0.1.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(t.Context(), k6x.Platform{OS: "linux", Arch: "amd64"}, list, temp(t)); err != nil {
		t.Fatal(err)
	}
	if len(steps) == 0 || steps[0] != "compiling" {
		t.Errorf("steps %q", steps)
	}
}
