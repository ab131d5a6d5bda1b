package script

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/internal/web"
)

// site serves modules; a path that ends with plain.js is there only if it is asked for as it is written.
func site(t *testing.T, pages map[string]string) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := pages[r.URL.Path]
		switch {
		case r.URL.Path == "/hangs.js":
			<-r.Context().Done()
		case r.URL.Path == "/moved.js":
			http.Redirect(w, r, "/lib/a.js?_k6=1", http.StatusFound)
		case r.URL.Path == "/plainly.js":
			http.Redirect(w, r, "http://"+r.Host+"/lib/a.js", http.StatusFound)
		case !ok, strings.HasSuffix(r.URL.Path, "plain.js") == (r.URL.Query().Get("_k6") == "1"):
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(text))
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func analyzeAt(t *testing.T, server *httptest.Server, in Input, bounds limits) string {
	t.Helper()
	in.HTTP = &http.Client{Transport: server.Client().Transport, CheckRedirect: web.NewClient(nil).CheckRedirect}
	report, err := analyze(t.Context(), in, bounds)
	return strings.ReplaceAll(strings.ReplaceAll(render(t, report, err), server.URL, "$URL"), strings.TrimPrefix(server.URL, "https://"), "$HOST")
}

func TestModulesOfURLsAreReadAsThoseOfFiles(t *testing.T) {
	archived := string(pack(t, "metadata.json", `{"filename":"file:///a.js"}`, "data", `import "k6/x/archived"`))
	server := site(t, map[string]string{
		"/lib/a.js":     `"use k6 with k6/x/a >= 0.3"; import "./b.js?token=secret"; import "/c.ts"; import "k6/x/a"; import data from "./data.json"`,
		"/lib/b.js":     `import "../plain.js"; import "file:///etc/passwd"; import "http://plain.example/x.js"; import "lodash"`,
		"/c.ts":         `import "k6/x/c"; const n: number = 1; import "./lib/a.js"; require("./loaded.js")`,
		"/plain.js":     `import "k6/x/plain"`,
		"/loaded.js":    `import "k6/x/loaded"`,
		"/archive.tar":  archived,
		"/evil.js":      `"use k6 with evil.example/pwn"`,
		"/scripts/x.js": `import "../lib/a.js"`,
	})
	const lib = `k6/x/a >= 0.3
	$URL/lib/a.js:1: >= 0.3
k6/x/c *
	$URL/c.ts:1: *
k6/x/loaded * optional
	$URL/loaded.js:1: *
k6/x/plain *
	$URL/plain.js:1: *
`
	dir := t.TempDir()
	write(t, filepath.Join(dir, "script.js"), `import "`+server.URL+`/lib/a.js"`)
	write(t, filepath.Join(dir, "a.tar"), string(pack(t, "metadata.json", `{"filename":"file:///a.js"}`, "data", `import "`+server.URL+`/lib/a.js"`)))
	for path, want := range map[string]string{
		"script.js":                  lib,
		"a.tar":                      lib,
		server.URL + "/scripts/x.js": lib,
		server.URL + "/archive.tar":  "k6/x/archived *\n\t$URL/archive.tar(file/a.js):1: *\n",
		server.URL + "/moved.js": strings.Replace(lib, "$URL/lib/a.js:1: >= 0.3\n", "$URL/moved.js:1: >= 0.3\n\t$URL/lib/a.js:1: >= 0.3\n", 1) +
			"unread $URL/b.js?… (imported by $URL/moved.js:1) was not looked into: $HOST answers 404 Not Found. If it needs an extension, name that, as in --with k6/x/redis\n",
		server.URL + "/evil.js":          "error forbidden: $URL/evil.js:1: the Go module evil.example/pwn is asked for, which only you can choose\n",
		server.URL + "/gone.js":          "unread $URL/gone.js was not looked into: $HOST answers 404 Not Found. If it needs an extension, name that, as in --with k6/x/redis\n",
		server.URL + "/plainly.js":       "unread $URL/plainly.js was not looked into: a redirect from https to http. If it needs an extension, name that, as in --with k6/x/redis\n",
		"http://" + server.URL[8:] + "/": "error not_found: the script http:/$HOST is not there\n",
	} {
		if diff := cmp.Diff(want, analyzeAt(t, server, Input{Dir: dir, Path: path}, defaults)); diff != "" {
			t.Errorf("%s: wanted (-), got (+):\n%s", path, diff)
		}
	}
}

func TestWhatIsFetchedIsBounded(t *testing.T) {
	server := site(t, map[string]string{
		"/large.js": strings.Repeat(" ", 1000) + `import "k6/x/large"`,
		"/a.js":     `import "./b.js"; import "k6/x/a"`, "/b.js": `import "./c.js"; import "k6/x/b"`, "/c.js": `import "k6/x/c"`,
	})
	for name, c := range map[string]struct {
		bound func(*limits)
		page  string
		want  string
	}{
		"size":            {func(l *limits) { l.file = 100 }, "/large.js", "unread $URL/large.js (imported by stdin:1) was not looked into: it is larger than the 100 B that are left for it"},
		"size of all":     {func(l *limits) { l.total = 200 }, "/large.js", "unread $URL/large.js (imported by stdin:1) was not looked into: it is larger than the"},
		"imports in turn": {func(l *limits) { l.hops = 2 }, "/a.js", "unread $URL/c.js (imported by $URL/b.js:1) was not looked into: it is more than 2 imports away from the script"},
		"time":            {func(l *limits) { l.duration = 100 * time.Millisecond }, "/hangs.js", "unread $URL/hangs.js (imported by stdin:1) was not looked into: what is fetched took longer than 100ms"},
		"no time":         {func(l *limits) { l.duration = time.Nanosecond }, "/a.js", "note 1 modules or more were not looked into: it took longer than 1ns"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bounds := defaults
			c.bound(&bounds)
			got := analyzeAt(t, server, Input{Path: "-", Stdin: strings.NewReader(`import "` + server.URL + c.page + `"`)}, bounds)
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestNothingSecretOfURLsIsShown(t *testing.T) {
	server := site(t, nil)
	url := strings.Replace(server.URL, "https://", "https://me:secret@", 1) + "/x.js?token=secret"
	got := analyzeAt(t, server, Input{Path: url}, defaults)
	if strings.Contains(got, "secret") || !strings.HasPrefix(got, "unread $URL/x.js?… was not looked into: $HOST answers 404") {
		t.Errorf("got %s", got)
	}
}

func TestMistakesOfTheCommandLineAreToldFromThoseOfFiles(t *testing.T) {
	env := func(name string) func(string) (string, bool) {
		return func(n string) (string, bool) { return "k6/x/a >>1", n == name }
	}
	for name, c := range map[string]struct {
		in   Input
		want bool
	}{
		"--with":                   {Input{With: []string{"k6/x/redis >>1"}}, true},
		"--out":                    {Input{Outputs: []string{"not a name"}}, true},
		"K6_DEPENDENCIES":          {Input{Env: env("K6_DEPENDENCIES")}, true},
		"K6_DEPENDENCIES_MANIFEST": {Input{Env: env("K6_DEPENDENCIES_MANIFEST")}, true},
		"a script":                 {Input{Path: "-", Stdin: strings.NewReader(`"use k6 >>1"`)}, false},
	} {
		_, err := Analyze(t.Context(), c.in)
		if _, got := errors.AsType[*InputError](err); k6x.KindOf(err) != k6x.Invalid || got != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
