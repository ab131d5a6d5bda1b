package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob"
	"k6x/cache/blob/mem"
	"k6x/cache/bucket"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
	"k6x/resolver"
	"k6x/service"
)

const browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

// read gets JSON.
func read[T any](t testing.TB, url string, headers ...string) (value T) {
	t.Helper()
	resp, body := do(t, "GET", url, append(headers, "Accept: application/json")...)
	if err := json.Unmarshal(body, &value); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v\n%s", url, resp.Status, err, body)
	}
	return value
}

// Each client gets the form that it asks for, and caches are told.
func TestAnswersHaveTheFormThatIsAccepted(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{BasePath: "/k6x"}})
	_, build := start(t, server, "/linux/amd64/k6@v1.1.0,k6/x/hello")
	result(t, server, build)
	build = strings.TrimPrefix(build, server.URL+"/k6x")
	for _, path := range []string{"/", "/builds", build, "/matrix", "/changes", "/status", "/help", "/nothing", "/linux/amd64/k6@v9.9.9"} {
		for _, base := range []string{"", "/k6x"} {
			for accept, html := range map[string]bool{
				browser: true, "Accept: text/html": true, "Accept: text/html;q=0.5, application/json;q=0.4": true,
				"Accept: */*": false, "X-None: ": false, "Accept: application/json": false, "Accept: application/json, text/html": false,
				"Accept: text/*": false, "Accept: text/html;q=0": false, "Accept: text/html;q=0.1, */*": false,
			} {
				resp, body := do(t, "GET", server.URL+base+path, accept)
				kind := resp.Header.Get("Content-Type")
				if kind == "text/event-stream" {
					t.Errorf("%s with %s is a stream", path, accept)
				}
				if got := strings.HasPrefix(kind, "text/html"); got != html {
					t.Errorf("%s with %s: %s %s", path, accept, resp.Status, kind)
				}
				if vary := strings.Join(resp.Header.Values("Vary"), ","); !strings.Contains(vary, "Accept") || resp.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s with %s: Vary %q, Cache-Control %q", path, accept, vary, resp.Header.Get("Cache-Control"))
				}
				policy := resp.Header.Get("Content-Security-Policy")
				if html && (!strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" ||
					resp.Header.Get("Referrer-Policy") != "same-origin" || !strings.Contains(string(body), `"/k6x/`)) {
					t.Errorf("%s: %v", path, resp.Header)
				}
			}
		}
	}
	for _, path := range []string{"/index.json", "/builds.json", build + ".json", "/matrix.json", "/changes.json", "/status.json", "/help.json", "/extensions.json"} {
		resp, body := do(t, "GET", server.URL+"/k6x"+path, browser)
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "application/json" && kind != "application/x-ndjson" || !strings.HasPrefix(string(body), "{") {
			t.Errorf("%s: %s %s", path, resp.Status, kind)
		}
	}
	for _, path := range []string{"/nothing.json", "/version.json", "/linux/amd64/k6@v1.1.0,k6/x/hello.json"} {
		if resp, _ := do(t, "GET", server.URL+path); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	// What names a binary is one, whatever a browser accepts.
	resp, _ := do(t, "GET", server.URL+helloPath, browser)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/octet-stream" || strings.Contains(resp.Header.Get("Vary"), "Accept") {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if resp, body := do(t, "GET", server.URL+"/"); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "curl -fL -o k6 ") {
		t.Errorf("curl gets %s", body)
	}
}

func TestWithoutPagesThereIsNoHTML(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{NoPages: true}})
	for _, path := range []string{"/", "/builds", "/matrix", "/changes", "/status", "/help", "/extensions", "/nothing", "/assets/0/style.css"} {
		if resp, body := do(t, "GET", server.URL+path, browser); strings.Contains(resp.Header.Get("Content-Type"), "html") || strings.Contains(string(body), "<html") {
			t.Errorf("%s: %s", path, resp.Header.Get("Content-Type"))
		}
	}
	if status := read[service.Status](t, server.URL+"/status"); status.Time.IsZero() {
		t.Errorf("%+v", status)
	}
}

func TestTheCatalogueIsSearched(t *testing.T) {
	t.Parallel()
	registry := filepath.Join(t.TempDir(), "registry.json")
	if err := os.WriteFile(registry, []byte(`[
		{"module": "go.k6.io/k6", "imports": ["k6"]},
		{"module": "example.com/xk6-hello", "imports": ["k6/x/hello"], "tier": "official", "description": "Says hello", "repo": {"owner": "ann", "stars": 5, "license": "MIT",
			"url": "https://example.com/xk6-hello", "timestamp": 1700000000}},
		{"module": "example.com/xk6-out", "outputs": ["out"], "tier": "community", "description": "writes results", "repo": {"owner": "bob", "stars": 50}, "versions": ["v0.1.0"]},
		{"module": "example.com/xk6-sub", "subcommands": ["sub"], "imports": ["k6/x/sub"], "versions": ["v0.2.0-rc.1", "v0.1.0"], "compliance": {"v0.1.0": {"issues": ["license"]}}},
		{"module": "example.com/xk6-cgo", "imports": ["k6/x/cgo"], "cgo": true}
	]`), 0o600); err != nil {
		t.Fatal(err)
	}
	server := newHistoryServer(t, &mem.Bucket{}, parts{overlay: []string{registry}, filter: "[?module!='example.com/xk6-world']"})
	for query, want := range map[string]string{
		"":                              "k6/x/hello k6/x/broken k6/x/newer out k6/x/sub",
		"?q=hello":                      "k6/x/hello",
		"?q=HELLO+ann":                  "k6/x/hello",
		"?q=example.com/xk6-out":        "out",
		"?q=results":                    "out",
		"?q=nothing":                    "",
		"?tier=community&sort=stars":    "out k6/x/broken",
		"?kind=subcommand":              "k6/x/sub",
		"?kind=output":                  "out",
		"?sort=name&limit=2":            "k6/x/broken k6/x/hello",
		"?sort=name&limit=2&cursor=2":   "k6/x/newer k6/x/sub",
		"?sort=name&limit=2&cursor=zzz": "",
		"?sort=newest&limit=1":          "k6/x/hello",
	} {
		var names []string
		for _, e := range read[service.Extensions](t, server.URL+"/extensions"+query).Extensions {
			names = append(names, e.Name)
		}
		slices.Sort(names)
		wanted := strings.Fields(want)
		slices.Sort(wanted)
		if !slices.Equal(names, wanted) {
			t.Errorf("%s: %q, want %q", query, names, want)
		}
	}
	_, url := start(t, server, "/linux/amd64/k6@v1.1.0,k6/x/sub@v0.1.0")
	result(t, server, url)
	page := read[service.Extensions](t, server.URL+"/extensions?sort=name")
	hello, sub := page.Extensions[1], page.Extensions[3]
	if hello.Author != "ann" || hello.Stars != 5 || hello.License != "MIT" || hello.Repository != "https://example.com/xk6-hello" || hello.Updated.Year() != 2023 || hello.Tier != "official" {
		t.Errorf("%+v", hello)
	}
	if sub.Outcome != "built" || sub.K6 == "" || !slices.Equal(sub.Versions, []string{"v0.2.0-rc.1", "v0.1.0"}) || !slices.Equal(sub.Issues, []string{"license"}) || hello.Outcome != "untried" {
		t.Errorf("%+v\n%+v", sub, hello)
	}
	if page.All != 5 || page.Total != 5 || len(page.Kinds) != 3 || page.Tiers[0].Value != "community" && page.Tiers[0].Value != "official" {
		t.Errorf("%+v", page)
	}
	for _, wrong := range []string{"?limit=0", "?limit=1000", "?cursor=-1", "?kind=x", "?sort=x", "?q=" + strings.Repeat("x", 300)} {
		if resp, _ := do(t, "GET", server.URL+"/extensions"+wrong); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.40s: %s", wrong, resp.Status)
		}
	}
}

// A stranger's words come out as words, and links to places other than the web not at all.
func TestTextsOfRegistriesAreHarmless(t *testing.T) {
	t.Parallel()
	registry := filepath.Join(t.TempDir(), "registry.json")
	evil := "<script>alert(1)</script>\x1b[31m\u202e\x00\" onload=x"
	entry := map[string]any{"module": "example.com/xk6-hello", "imports": []string{"k6/x/hello", "k6/x/<b>"}, "description": strings.Repeat(evil, 10_000), "tier": evil,
		"versions": []string{"v0.1.1", evil}, "constraints": ">=0", "repo": map[string]any{"owner": evil, "license": evil, "url": "javascript:alert(1)", "stars": -1e300, "timestamp": 1e300}}
	text, err := json.Marshal([]any{entry, map[string]any{"module": "example.com/xk6-out", "outputs": []string{"out"}, "description": []int{1}, "repo": "x", "stars": "<b>", "author": evil}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(registry, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := newHistoryServer(t, &mem.Bucket{}, parts{overlay: []string{registry}})
	for _, e := range read[service.Extensions](t, server.URL+"/extensions").Extensions {
		all, _ := json.Marshal(e)
		if len(all) > 4000 || strings.ContainsAny(string(all), "\x1b\u202e") || strings.Contains(string(all), `\u0000`) || e.Repository != "" && !strings.HasPrefix(e.Repository, "https://") || e.Stars < 0 {
			t.Errorf("%d bytes: %.500s", len(all), all)
		}
	}
	for _, path := range []string{"/", "/?with=k6/x/hello@v0.1.1", "/?with=" + url.QueryEscape(evil), "/?q=" + url.QueryEscape(evil), "/?platform=" + url.QueryEscape(evil), "/?k6=" + url.QueryEscape(evil)} {
		resp, body := do(t, "GET", server.URL+path, browser)
		if resp.StatusCode != http.StatusOK || strings.Contains(string(body), "<script>alert") || strings.ContainsAny(string(body), "\x1b\u202e\x00") || strings.Contains(string(body), "javascript:") {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func TestAChoiceIsExplainedBeforeItIsBuilt(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	pick := func(query string) service.Choice {
		t.Helper()
		return read[service.Picker](t, server.URL+"/?"+query).Choice
	}
	commands := func(c service.Choice) map[string]string {
		all := map[string]string{}
		for _, command := range c.Commands {
			all[command.Name] = command.Text
		}
		return all
	}
	c := pick("with=k6/x/hello@v0.1.1&k6=v1.1.0&platform=linux/amd64")
	if c.Path != helloPath || c.URL != server.URL+helloPath || c.Problem != nil || c.Stored || c.Digest != "" || len(c.Modules) != 2 || len(c.With[0].Versions) != 3 {
		t.Errorf("%+v", c)
	}
	got := commands(c)
	for name, want := range map[string]string{
		"curl": "curl -fL -o k6 " + server.URL + helloPath + " && chmod +x k6", "wget": "wget -O k6 " + server.URL + helloPath + " && chmod +x k6",
		"powershell": "Invoke-WebRequest -Uri '" + server.URL + helloPath + "' -OutFile k6",
		"k6x":        "K6X_BUILDER_SERVICE=" + server.URL + " k6x run --with 'k6 = 1.1.0' --with 'k6/x/hello = 0.1.1' script.js",
		"k6":         "K6_BUILD_SERVICE_URL=" + server.URL + " k6 run script.js", "script": "\"use k6 = 1.1.0\";\n\"use k6 with k6/x/hello = 0.1.1\";",
		"docker": "ADD --chmod=755 " + server.URL + helloPath + " /usr/bin/k6",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	resp, body := do(t, "GET", server.URL+helloPath)
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	c = pick(c.Query)
	if digest := strings.Trim(resp.Header.Get("Etag"), `"`); !c.Stored || c.Digest != digest || c.Size != int64(len(body)) || c.Outcome != "built" ||
		!strings.Contains(commands(c)["docker"], "--checksum=sha256:"+digest) || !strings.Contains(commands(c)["check"], digest) {
		t.Errorf("%+v", c)
	}
	if c := pick("with=k6/x/hello&version=k6/x/hello@v0.1.0&with=k6/x/world&remove=k6/x/world&platform=windows/amd64"); len(c.With) != 1 ||
		c.Path != "/windows/amd64/k6@v1.1.0,k6/x/hello@v0.1.0" || commands(c)["curl"] != "curl.exe -fL -o k6.exe '"+c.URL+"'" || commands(c)["docker"] != "" ||
		c.Commands[0].Name != "powershell" || !strings.HasPrefix(commands(c)["k6x"], "$env:K6X_BUILDER_SERVICE='"+server.URL+"'; k6x run --with 'k6 = 1.1.0'") || commands(c)["wget"] != "" {
		t.Errorf("%+v", c)
	}
	for query, want := range map[string]struct{ kind, extension, instead string }{
		"with=k6/x/newer@v0.2.0&k6=v1.0.0":               {"conflict", "k6/x/newer", "k6@v1.1.0,k6/x/newer@v0.2.0"},
		"with=k6/x/hello@v7.0.0&k6=v1.1.0":               {"not_found", "k6/x/hello", "k6@v1.1.0,k6/x/hello@v0.1.1"},
		"with=k6/x/hallo":                                {"not_found", "k6/x/hallo", ""},
		"with=k6/x/hello&with=k6/x/%3Cb%3E":              {"invalid", "k6/x/<b>", ""},
		"with=k6/x/hello@banana":                         {"invalid", "k6/x/hello", ""},
		"with=k6/x/cgo":                                  {"forbidden", "k6/x/cgo", ""},
		"with=k6/x/hello&platform=linux/sparc":           {"not_found", "", ""},
		"with=k6/x/hello&k6=v1.1.0&platform=plan9/amd64": {"not_found", "", ""},
		"with=k6/x/hello&k6=v9.9.9":                      {"not_found", "", "k6@v1.1.0,k6/x/hello@v0.1.1"},
	} {
		c := pick(query)
		if p := c.Problem; p == nil || p.Kind != want.kind || p.Extension != want.extension || p.Message == "" || c.Path != "" {
			t.Errorf("%s: %+v %q", query, p, c.Path)
		} else if want.kind == "not_found" && want.extension == "" && want.instead == "" && p.Instead != nil {
			t.Errorf("%s: instead of it %+v", query, p.Instead)
		} else if want.instead != "" && !slices.ContainsFunc(p.Instead, func(a service.Alternative) bool { return a.List == want.instead && pick(a.Query).Path != "" }) {
			t.Errorf("%s: instead of it %+v", query, p.Instead)
		}
	}
	if c := pick(""); c.Path != "" || c.Problem != nil || c.Asked == "" {
		t.Errorf("nothing chosen: %+v", c)
	}
	many := strings.Repeat("with=k6/x/a", 1)
	for i := range 60 {
		many += "&with=k6/x/a" + jsonInt(i)
	}
	for _, query := range []string{many, strings.Repeat("x", 20<<10)} {
		if resp, _ := do(t, "GET", server.URL+"/?"+query, browser); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.30s: %s", query, resp.Status)
		}
	}
}

// A browser guesses its platform by what it calls itself.
func TestThePlatformIsGuessed(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64)": "windows/amd64", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)": "darwin/arm64",
		"Mozilla/5.0 (X11; Linux x86_64)": "linux/amd64", "Mozilla/5.0 (X11; Linux aarch64)": "linux/arm64", "": "linux/amd64",
	} {
		if c := read[service.Picker](t, server.URL+"/", "User-Agent: "+agent).Choice; c.Platform != want {
			t.Errorf("%q: %s", agent, c.Platform)
		}
	}
}

func TestAFormStartsABuild(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	post := func(path, body string, headers ...string) *http.Response {
		t.Helper()
		resp, _ := send(t, "POST", server.URL+path, strings.NewReader(body), append(headers, "Content-Type: application/x-www-form-urlencoded")...)
		return resp
	}
	form := "path=" + url.QueryEscape(helloPath)
	resp := post("/builds", form, browser, "Sec-Fetch-Site: same-origin")
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(location, "/builds/") {
		t.Fatalf("%s %s", resp.Status, location)
	}
	result(t, server, server.URL+location)
	if resp, body := do(t, "GET", server.URL+location, browser); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "k6/x/hello") {
		t.Errorf("%s", resp.Status)
	}
	if resp := post("/builds", form, browser); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != helloPath {
		t.Errorf("what is stored: %s %s", resp.Status, resp.Header.Get("Location"))
	}
	if resp := post(location+"/retry", "", browser); resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") == location {
		t.Errorf("again: %s", resp.Status)
	}
	if resp := post("/builds", `{"path": "/linux/amd64/k6@v1.0.0"}`); resp.StatusCode != http.StatusAccepted { // as curl -d says
		t.Errorf("JSON: %s", resp.Status)
	}
	if resp := post("/builds", form, browser, "Sec-Fetch-Site: cross-site"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %s", resp.Status)
	}
	if resp := post("/builds", "path=nonsense", browser); resp.StatusCode != http.StatusBadRequest || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		t.Errorf("nonsense: %s", resp.Status)
	}
}

// Where tokens are needed, pages tell those without one what the other answers tell them.
func TestPagesKeepToTheRulesOfTokens(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := service.LoadTokens(file)
	if err != nil {
		t.Fatal(err)
	}
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Tokens: tokens}})
	const bearer = "Authorization: Bearer secret"
	resp, _ := send(t, "POST", server.URL+"/builds", strings.NewReader(`{"path": "`+brokenPath+`"}`), bearer)
	build := resp.Header.Get("Location")
	watch(t, server.URL+build, bearer)
	for _, path := range []string{"/builds", build, "/matrix", "/changes", "/builds.json"} {
		if resp, body := do(t, "GET", server.URL+path, browser); resp.StatusCode != http.StatusUnauthorized || strings.Contains(string(body), "k6/x/broken") {
			t.Errorf("%s: %s", path, resp.Status)
		}
		if resp, _ := do(t, "GET", server.URL+path, browser, bearer); resp.StatusCode != http.StatusOK {
			t.Errorf("%s with a token: %s", path, resp.Status)
		}
	}
	for _, form := range []string{browser, "Accept: application/json"} {
		if resp, body := do(t, "GET", server.URL+"/status", form); resp.StatusCode != http.StatusOK || strings.Contains(string(body), "k6/x/broken") {
			t.Errorf("%s: %s", resp.Status, body)
		}
	}
	if status := read[service.Status](t, server.URL+"/status"); !status.Hidden || status.Failures != nil {
		t.Errorf("%+v", status)
	}
	deadline := time.Now().Add(time.Minute)
	for status := read[service.Status](t, server.URL+"/status", bearer); len(status.Failures) != 1 || status.Failures[0].Extension != "k6/x/broken"; status = read[service.Status](t, server.URL+"/status", bearer) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", status)
		}
	}
	const query = "/?with=k6/x/hello@v0.1.1&k6=v1.1.0&platform=linux/amd64"
	if p := read[service.Picker](t, server.URL+query); !p.NeedsToken || p.Choice.Problem != nil || !p.Choice.Token || p.Choice.Path != helloPath || p.Extensions.All == 0 ||
		p.Extensions.Extensions[0].Outcome != "" || slices.ContainsFunc(p.Choice.Commands, func(c service.Command) bool { return c.Name == "docker" }) {
		t.Errorf("%+v", p.Choice)
	}
	if c := read[service.Picker](t, server.URL+"/?with=example.com/secret").Choice; c.Problem == nil || c.Problem.Kind != "unauthorized" || !c.Token {
		t.Errorf("a module that no registry has: %+v", c)
	}
	if p := read[service.Picker](t, server.URL+query, bearer); p.Choice.Token || p.Choice.Path != helloPath || !strings.Contains(p.Choice.Commands[0].Text, "$TOKEN") {
		t.Errorf("%+v", p.Choice)
	}
	if resp, _ := do(t, "GET", server.URL+helloPath, bearer); resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	if c := read[service.Picker](t, server.URL+query).Choice; c.Path != helloPath || !c.Stored || c.Token || c.Build != "" || strings.Contains(c.Commands[0].Text, "$TOKEN") {
		t.Errorf("what is stored is open: %+v", c)
	}
	if resp, _ := send(t, "POST", server.URL+"/builds", strings.NewReader("path="+url.QueryEscape(helloPath)), "Content-Type: application/x-www-form-urlencoded", browser); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a form: %s", resp.Status)
	}
}

func TestStatusTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	gate, begun := make(chan struct{}), make(chan struct{}, 2)
	stream := new(event.Stream)
	p := parts{config: service.Config{
		Builds: service.Builds{Events: stream}, Progress: stream.Running,
		Version: service.Version{K6x: "v9", Sandbox: service.Sandbox{State: "none"}, Limits: service.Limits{MaxBuilds: 3, Queue: 4, BuildTimeout: 60}},
		Parts: func() []service.Part {
			return []service.Part{{Name: "registries", Message: "the registry is away", Since: time.Unix(1, 0)}, {Name: "go", Works: true}}
		},
		State: func() service.State {
			return service.State{
				Queue:  service.Queue{Waiting: 4, Limit: 4, Oldest: history.Seconds(2 * time.Minute)},
				Stores: []service.CacheStatus{{Name: "store", Bytes: 5, Limit: 10, Full: "the disk is full"}}, Disks: []service.Disk{{Name: "cache", Free: 1, Size: 1000}},
			}
		},
	}}
	var sink event.Sink
	p.sink = &sink
	p.builder = func(real builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			stream.Publish(event.Event{Job: job.ID, Path: job.Recipe.Path(), Time: time.Now(), Type: event.Started})
			begun <- struct{}{}
			<-gate
			return real.Build(ctx, job)
		})
	}
	server := newHistoryServer(t, &mem.Bucket{}, p)
	_, url := start(t, server, helloPath)
	<-begun
	status := read[service.Status](t, server.URL+"/status")
	var kinds, codes, messages []string
	for _, problem := range status.Problems {
		codes, messages = append(codes, problem.Code), append(messages, problem.Message)
		if kinds = append(kinds, problem.Kind); problem.Hint == "" || problem.Message == "" {
			t.Errorf("%+v", problem)
		}
	}
	if want := "registries queue queue store disk"; strings.Join(kinds, " ") != want || status.Works {
		t.Errorf("problems: %v, want %s", kinds, want)
	}
	if want := "registries queue_full queue_slow store_full disk_scarce"; strings.Join(codes, " ") != want {
		t.Errorf("codes: %v, want %s", codes, want)
	}
	if words := "the queue is full: 4 builds wait, and others are refused; a build has waited for 2 min; nothing can be stored: the disk is full; the disk of the cache directory is almost full: 1 B are left"; strings.Join(messages[1:], "; ") != words {
		t.Errorf("messages: %q, want %s", messages, words)
	}
	if status.Service != "me" || !status.Services[0].Self || status.Services[0].Running != 1 || len(status.Pools) != 1 || status.Version.K6x != "v9" || len(status.Parts) != 2 {
		t.Errorf("%+v", status)
	}
	close(gate)
	result(t, server, url)
	status = read[service.Status](t, server.URL+"/status")
	if s := status.Services[0]; s.Builds != 1 || s.Failed != 0 || s.Running != 0 {
		t.Errorf("%+v", s)
	}
	for range 3 {
		do(t, "GET", server.URL+helloPath)
	}
	status = read[service.Status](t, server.URL+"/status")
	if status.Requests.Hits != 3 || status.Requests.All < 6 || status.Stores[0].Hits != 3 {
		t.Errorf("%+v", status.Requests)
	}
	for _, form := range []string{browser, "Accept: */*"} {
		if resp, body := do(t, "GET", server.URL+"/status", form); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "the registry is away") {
			t.Errorf("%s", resp.Status)
		}
	}
}

// A build that the queue has no room for is an error at once, and no page of a build that is not there.
func TestABuildThatIsRefusedIsNotStarted(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	stream := new(event.Stream)
	p := parts{config: service.Config{Builds: service.Builds{Events: stream}}, builder: func(real builder.Builder) builder.Builder {
		return builder.NewLimit(builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			stream.Publish(event.Event{Job: job.ID, Path: job.Recipe.Path(), Time: time.Now(), Type: event.Started})
			<-gate
			return real.Build(ctx, job)
		}), builder.LimitConfig{Slots: 1, Queue: -1, Events: stream.Publish})
	}}
	server := newHistoryServer(t, &mem.Bucket{}, p)
	if resp, _ := start(t, server, "/linux/amd64/k6@v1.1.0"); resp.StatusCode != http.StatusAccepted {
		t.Errorf("the first: %s", resp.Status)
	}
	form := strings.NewReader("path=" + url.QueryEscape(helloPath))
	resp, _ := send(t, "POST", server.URL+"/builds", form, browser, "Content-Type: application/x-www-form-urlencoded")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Location") != "" {
		t.Errorf("the second: %s %v", resp.Status, resp.Header)
	}
	close(gate)
}

// What waits for its turn knows how many came before it.
func TestABuildTellsItsPlaceInTheQueue(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	stream := new(event.Stream)
	p := parts{config: service.Config{Builds: service.Builds{Events: stream}, Progress: stream.Running}, builder: func(real builder.Builder) builder.Builder {
		return builder.NewLimit(builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			stream.Publish(event.Event{Job: job.ID, Path: job.Recipe.Path(), Time: time.Now(), Type: event.Started})
			<-gate
			return real.Build(ctx, job)
		}), builder.LimitConfig{Slots: 1})
	}}
	server := newHistoryServer(t, &mem.Bucket{}, p)
	var urls []string
	for _, list := range []string{"k6@v1.1.0", "k6@v1.1.0,k6/x/hello@v0.1.0", "k6@v1.1.0,k6/x/hello@v0.1.1"} {
		_, url := start(t, server, "/linux/amd64/"+list)
		urls = append(urls, url)
	}
	last := read[service.Build](t, urls[2])
	if last.ID == "" || last.Path != helloPath || !last.Waiting || last.Ahead < 1 {
		t.Errorf("%+v", last)
	}
	close(gate)
	for _, url := range urls {
		if r := result(t, server, url); r.Outcome != history.Built {
			t.Errorf("%+v", r)
		}
	}
}

// manyExtensions is a registry of so many entries.
func manyExtensions(t testing.TB, n int) string {
	entries := make([]map[string]any, n)
	for i := range entries {
		name := "ext" + jsonInt(i)
		entries[i] = map[string]any{"module": "example.com/many/xk6-" + name, "imports": []string{"k6/x/" + name}, "tier": "community", "description": strings.Repeat("words of "+name+" ", 10),
			"versions": []string{"v0.3.0", "v0.2.0", "v0.1.0"}, "repo": map[string]any{"owner": "owner" + jsonInt(i%100), "stars": i % 500, "url": "https://example.com/" + name}}
	}
	text, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "many.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestALargeRegistryIsPaged(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{overlay: []string{manyExtensions(t, 10_000)}})
	page := read[service.Extensions](t, server.URL+"/extensions?tier=community&sort=name&q=ext99")
	if page.Total != 111 || page.All < 10_000 || len(page.Extensions) != 24 || page.Cursor == "" {
		t.Errorf("%d of %d, %d shown", page.Total, page.All, len(page.Extensions))
	}
	seen := map[string]bool{}
	for cursor := ""; ; cursor = page.Cursor {
		page = read[service.Extensions](t, server.URL+"/extensions?q=ext99&limit=50&cursor="+cursor)
		for _, e := range page.Extensions {
			seen[e.Name] = true
		}
		if page.Cursor == "" {
			break
		}
	}
	if len(seen) != 111 {
		t.Errorf("%d seen", len(seen))
	}
	resp, err := new(http.Transport).RoundTrip(httpRequest(t, server, "/"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ContentLength < 1 && !resp.Uncompressed || resp.ContentLength > 60<<10 {
		t.Errorf("the first view has %d bytes", resp.ContentLength)
	}
}

func httpRequest(t testing.TB, server *httptest.Server, path string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Accept-Encoding", "gzip")
	return r
}

// While the module proxy is away, pages do not ask it each time they are shown.
func TestPagesDoNotWaitForAProxyThatIsAway(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer proxy.Close()
	r, err := resolver.New(t.Context(), resolver.Config{Registries: []string{"testdata/registry.json"}, Dir: t.TempDir(), Env: []string{"GOPROXY=" + proxy.URL, "GOSUMDB=off"}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(service.New(service.Config{Resolver: r, Store: bucket.Memory(bucket.Config{})}))
	defer server.Close()
	first := read[service.Picker](t, server.URL+"/")
	before := asked.Load()
	again := read[service.Picker](t, server.URL+"/")
	if before == 0 || asked.Load() != before || len(first.K6) != 0 || again.Extensions.All != first.Extensions.All || again.Extensions.All == 0 {
		t.Errorf("the proxy was asked %d times, then %d: %+v", before, asked.Load(), again)
	}
	if c := read[service.Picker](t, server.URL+"/?with=k6/x/hello").Choice; c.Problem == nil || c.Problem.Kind != "unavailable" || c.Asked == "" {
		t.Errorf("%+v", c)
	}
}

// Whatever stands in a query, it is no fault of the service.
func TestAnyQueryIsAnswered(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	for _, path := range []string{"/", "/extensions", "/builds", "/matrix", "/changes", "/status", "/help", "/nothing", "/builds/none", "/linux/amd64/k6@v9.9.9"} {
		for _, query := range []string{"q=100%", "x=%zz", "a;b", "a=%", "with=%&with=k6/x/hello", "q=%ff%fe", "=&=&&", "with=@@&version=@", "platform=%00", "cursor=%22", "k6=;", "%=%"} {
			for _, form := range []string{browser, "Accept: application/json"} {
				if resp, body := do(t, "GET", server.URL+path+"?"+query, form); resp.StatusCode >= 500 || form == browser && path != "/extensions" && !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
					t.Errorf("%s?%s: %s %.200s", path, query, resp.Status, body)
				}
			}
		}
	}
}

// What had to make room is built again where it can be watched, and is not said to be there.
func TestWhatWasEvictedIsNotStored(t *testing.T) {
	t.Parallel()
	store := bucket.Memory(bucket.Config{})
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Store: store}})
	_, first := do(t, "GET", server.URL+helloPath)
	const query = "/?with=k6/x/hello@v0.1.1&k6=v1.1.0&platform=linux/amd64"
	if c := read[service.Picker](t, server.URL+query).Choice; !c.Stored {
		t.Errorf("%+v", c)
	}
	store.MakeRoom(t.Context(), k6x.Errorf(k6x.NoSpace, "full"))
	if c := read[service.Picker](t, server.URL+query).Choice; c.Stored || c.Digest == "" || c.Size != int64(len(first)) || c.Path != helloPath {
		t.Errorf("%+v", c)
	}
	resp, build := start(t, server, helloPath)
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%s", resp.Status)
	}
	watch(t, build)
	if resp, _ := start(t, server, helloPath); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("%s", resp.Status)
	}
}

// A choice that is being built already says so, and one that fails says what may work.
func TestAChoiceKnowsItsBuilds(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	stream := new(event.Stream)
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Builds: service.Builds{Events: stream}}, builder: func(real builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			stream.Publish(event.Event{Job: job.ID, Path: job.Recipe.Path(), Time: time.Now(), Type: event.Started})
			<-gate
			return real.Build(ctx, job)
		})
	}})
	resp, url := start(t, server, helloPath)
	if c := read[service.Picker](t, server.URL+"/?with=k6/x/hello@v0.1.1&k6=v1.1.0&platform=linux/amd64").Choice; c.Outcome != "running" || c.Build != resp.Header.Get("K6x-Build") {
		t.Errorf("%+v", c)
	}
	close(gate)
	result(t, server, url)
}

// A failure has the newest version of the extension that was built, if there is one.
func TestAFailureHasWhatWasBuilt(t *testing.T) {
	t.Parallel()
	var fail atomic.Bool
	var sink event.Sink
	server := newHistoryServer(t, &mem.Bucket{}, parts{sink: &sink, builder: func(real builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			if fail.Load() {
				sink(event.Event{Job: job.ID, Path: job.Recipe.Path(), Key: job.Recipe.Key(), Time: time.Now(), Type: event.Started})
				return k6x.Artifact{}, k6x.Errorf(k6x.BuildFailed, "k6/x/hello does not compile")
			}
			return real.Build(ctx, job)
		})
	}})
	_, url := start(t, server, "/linux/amd64/k6@v1.1.0,k6/x/hello@v0.1.0")
	result(t, server, url)
	fail.Store(true)
	_, url = start(t, server, helloPath)
	watch(t, url)
	b := read[service.Build](t, url)
	if len(b.Instead) != 1 || b.Instead[0].List != "k6,k6/x/hello@v0.1.0" || !strings.Contains(b.Instead[0].Query, "with=k6/x/hello@v0.1.0") {
		t.Errorf("%+v", b.Instead)
	}
}

// A proxy in front may not pass on the host that browsers know: --url names it.
func TestAFormFromTheAddressOfTheService(t *testing.T) {
	t.Parallel()
	base, err := url.Parse("http://k6.example/b")
	if err != nil {
		t.Fatal(err)
	}
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{URL: base}})
	for origin, status := range map[string]int{"http://k6.example": http.StatusSeeOther, "http://evil.example": http.StatusForbidden} {
		resp, _ := send(t, "POST", server.URL+"/builds", strings.NewReader("path="+url.QueryEscape(helloPath)), "Content-Type: application/x-www-form-urlencoded", browser, "Origin: "+origin)
		if resp.StatusCode != status {
			t.Errorf("%s: %s", origin, resp.Status)
		}
	}
}

// While a search is typed, the module proxy is not asked.
func TestASearchAsksNobody(t *testing.T) {
	t.Parallel()
	hanging := make(chan struct{})
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-hanging:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusServiceUnavailable) // so that nothing is written to a directory that is being removed
	}))
	defer proxy.Close()
	defer close(hanging)
	r, err := resolver.New(t.Context(), resolver.Config{Registries: []string{"testdata/registry.json"}, Dir: t.TempDir(), Env: []string{"GOPROXY=" + proxy.URL, "GOSUMDB=off"}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(service.New(service.Config{Resolver: r, Store: bucket.Memory(bucket.Config{})}))
	defer server.Close()
	for _, form := range []string{browser, "Accept: application/json"} {
		if resp, _ := do(t, "GET", server.URL+"/?part=found&q=hel&with=k6/x/hello", form); resp.StatusCode != http.StatusOK || asked.Load() != 0 {
			t.Errorf("%s, and the proxy was asked %d times", resp.Status, asked.Load())
		}
	}
	resp, body := do(t, "GET", server.URL+"/?with=k6/x/hello", browser) // in a few seconds
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "still being found out") {
		t.Errorf("%s", resp.Status)
	}
}

// late is a bucket in which what is opened first is there the second time only.
type late struct {
	mem.Bucket
	text  []byte
	tries atomic.Int64
}

func (l *late) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, blob.Info, error) {
	if strings.HasPrefix(name, "running/builds/") && l.tries.Add(1) == 2 {
		if err := blob.PutBytes(ctx, &l.Bucket, name, l.text, blob.PutOptions{}); err != nil {
			return nil, blob.Info{}, err
		}
	}
	return l.Bucket.Open(ctx, name, offset)
}

// The browser that started a build at one service asks another one for its page, which waits until it can be seen there.
func TestThePageOfABuildOfAnotherService(t *testing.T) {
	t.Parallel()
	id, log := uuid.NewString(), slog.New(slog.DiscardHandler)
	shared := &late{text: fmt.Appendf(nil, `{"lease":"%064d","result":{"id":"%s","path":"%s","outcome":"running"}}`, 0, id, helloPath)}
	var p parts
	recorder := history.NewRecorder(history.New(journal.New(journal.Config{Bucket: shared}), 100, log), &mem.Bucket{}, nil, "me", log)
	p.config.Builds.Live = history.NewLive(history.LiveConfig{Bucket: shared, Recorder: recorder, Every: 10 * time.Millisecond, Logger: log})
	server := newHistoryServer(t, &mem.Bucket{}, p)
	if resp, body := do(t, "GET", server.URL+"/builds/"+id, browser); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "k6/x/hello") {
		t.Errorf("%s", resp.Status)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// lookUp has a service look up what it showed, two at once, until the test ends.
func lookUp(t *testing.T, s *service.Service) {
	ctx, stop := context.WithCancel(context.Background())
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() { s.LookUp(ctx) })
	}
	t.Cleanup(func() { stop(); both.Wait() })
}

// What an extension that was shown needs of k6 is found out without anybody waiting for it, in each form of the catalogue.
func TestWhatExtensionsNeedIsFoundOut(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/extensions"} {
		server, s := newServer(t, parts{})
		lookUp(t, s)
		known := func() (all []string) {
			extensions := read[service.Picker](t, server.URL+"/?part=found").Extensions // which looks nothing up
			for _, e := range extensions.Extensions {
				if e.K6 != "" {
					all = append(all, e.Name+" "+e.K6)
				}
			}
			slices.Sort(all)
			return all
		}
		want := []string{"k6/x/broken v1.0.0", "k6/x/hello v1.0.0", "k6/x/newer v1.1.0", "k6/x/world v1.0.0"}
		if known() != nil {
			t.Errorf("it is known before: %v", known())
		}
		if resp, _ := do(t, "GET", server.URL+path, "Accept: application/json"); resp.StatusCode != http.StatusOK {
			t.Error(resp.Status)
		}
		eventually(t, path+" does not come to know it", func() bool { return slices.Equal(known(), want) })
	}
}

// A module proxy that hangs is asked for a few extensions at once, for each of them once, and keeps no answer waiting.
func TestLookingUpExtensionsIsBounded(t *testing.T) {
	t.Parallel()
	hanging := make(chan struct{})
	var mu sync.Mutex
	now, most, asked := 0, 0, make(map[string]int)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		now++
		most = max(most, now)
		mu.Unlock()
		<-hanging
		mu.Lock()
		now--
		mu.Unlock()
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(asked)
	}
	r, err := resolver.New(t.Context(), resolver.Config{Registries: []string{"testdata/registry.json", manyExtensions(t, 10_000)}, Dir: t.TempDir(), Env: []string{"GOPROXY=" + proxy.URL, "GOSUMDB=off"}})
	if err != nil {
		t.Fatal(err)
	}
	s := service.New(service.Config{Resolver: r, Store: bucket.Memory(bucket.Config{})})
	lookUp(t, s)
	server := httptest.NewServer(s)
	defer server.Close()
	for range 3 {
		for cursor := ""; ; { // more than may wait
			page := read[service.Extensions](t, server.URL+"/extensions?q=ext1&limit=200&cursor="+cursor)
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
	}
	eventually(t, "nobody is asked", func() bool { return count() > 1 })
	close(hanging)
	eventually(t, "not all are asked for", func() bool { return count() >= 200 })
	mu.Lock()
	defer mu.Unlock()
	if most > 2 {
		t.Errorf("%d at once", most)
	}
	for path, times := range asked {
		if times > 1 {
			t.Errorf("%s was asked for %d times", path, times)
		}
	}
	if len(asked) > 210 {
		t.Errorf("%d were asked for", len(asked))
	}
}

// A service that has never built is seen at the others on the bucket.
func TestServicesThatLiveAreShown(t *testing.T) {
	t.Parallel()
	shared, log := &mem.Bucket{}, slog.New(slog.DiscardHandler)
	live := func(id string) *history.Live {
		recorder := history.NewRecorder(history.New(journal.New(journal.Config{Bucket: shared}), 100, log), &mem.Bucket{}, nil, id, log)
		l := history.NewLive(history.LiveConfig{Bucket: shared, Recorder: recorder, Events: new(event.Stream), Every: time.Millisecond, Logger: log})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { l.Run(ctx); close(ended) }()
		t.Cleanup(func() { stop(); <-ended })
		return l
	}
	var p parts
	p.config.Builds.Live = live("me")
	server := newHistoryServer(t, shared, p)
	if s := read[service.Status](t, server.URL+"/status").Services; len(s) != 1 || !s[0].Self || s[0].ID != "me" {
		t.Errorf("alone: %+v", s)
	}
	live("idle")
	eventually(t, "the other service is not seen", func() bool {
		s := read[service.Status](t, server.URL+"/status").Services
		return len(s) == 2 && s[0].Self && s[1].ID == "idle" && time.Since(s[1].Seen) < time.Minute && s[1].Builds == 0
	})
}

// A list of builds has no more of them than is asked for, whether they have ended or not.
func TestListsOfBuildsKeepToTheLimit(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	stream := new(event.Stream)
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Builds: service.Builds{Events: stream}}, builder: func(real builder.Builder) builder.Builder {
		return builderFunc(func(ctx context.Context, job builder.Job) (k6x.Artifact, error) {
			stream.Publish(event.Event{Job: job.ID, Path: job.Recipe.Path(), Time: time.Now(), Type: event.Started})
			<-gate
			return real.Build(ctx, job)
		})
	}})
	var urls []string
	for _, list := range []string{"k6@v1.1.0", "k6@v1.1.0,k6/x/hello@v0.1.0", "k6@v1.1.0,k6/x/hello@v0.1.1"} {
		_, url := start(t, server, "/linux/amd64/"+list)
		urls = append(urls, url)
	}
	for query, want := range map[string]int{"": 3, "?limit=2": 2, "?limit=1": 1, "?limit=1000": 3} {
		if list := read[service.BuildList](t, server.URL+"/builds"+query); len(list.Running) != want || !strings.HasSuffix(urls[2], list.Running[0].ID) {
			t.Errorf("%s: %d, want %d", query, len(list.Running), want)
		}
	}
	close(gate)
	for _, url := range urls {
		result(t, server, url)
	}
}

// unkept is a writer that keeps nothing.
type unkept struct{ header http.Header }

func (u unkept) Header() http.Header         { return u.header }
func (u unkept) Write(p []byte) (int, error) { return len(p), nil }
func (u unkept) WriteHeader(int)             {}

// JSON of megabytes is not made anew for each who asks. No other test runs beside this one.
func TestTheMatrixIsEncodedOnce(t *testing.T) {
	server := newHistoryServer(t, &mem.Bucket{}, parts{overlay: []string{manyExtensions(t, 2000)}})
	_, text := do(t, "GET", server.URL+"/matrix.json")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	server.Config.Handler.ServeHTTP(unkept{make(http.Header)}, httptest.NewRequestWithContext(t.Context(), "GET", "/matrix.json", nil))
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(len(text)) {
		t.Errorf("%d bytes are allocated for an answer of %d", took, len(text))
	}
}

// The matrix has each change of what is in it at once, though it is not made anew for each who asks.
func TestTheMatrixIsNeverOld(t *testing.T) {
	t.Parallel()
	var versions atomic.Pointer[map[string][]string]
	versions.Store(&map[string][]string{})
	server := newHistoryServer(t, &mem.Bucket{}, parts{config: service.Config{Builds: service.Builds{Versions: func() map[string][]string { return *versions.Load() }}}})
	cells := func(query string) string {
		t.Helper()
		var words []string
		for _, c := range read[service.Matrix](t, server.URL+"/matrix?platform="+query).Cells {
			if c.Extension == "k6/x/hello" && c.Platform == "linux/amd64" {
				words = append(words, c.Version+" "+string(c.Outcome))
			}
		}
		return strings.Join(words, ", ")
	}
	check := func(want string) {
		t.Helper()
		for _, query := range []string{"", "linux/amd64"} {
			if got := cells(query); got != want {
				t.Errorf("%q: got %q, want %q", query, got, want)
			}
		}
	}
	check(" untried")
	versions.Store(&map[string][]string{"k6/x/hello": {"v0.1.1"}})
	check("v0.1.1 untried")
	_, url := start(t, server, helloPath)
	result(t, server, url)
	check("v0.1.1 built")
	versions.Store(&map[string][]string{"k6/x/hello": {"v0.2.0", "v0.1.1"}})
	check("v0.1.1 built, v0.2.0 untried")
	if resp, body := do(t, "GET", server.URL+"/matrix", browser); resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "v0.2.0") {
		t.Errorf("%s", resp.Status)
	}
}
