package native

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/internal/testmod"
)

// failure is what a build that fails has to say.
type failure struct {
	kind    k6x.Kind
	message []string // parts of it
	hint    string   // part of it
	output  string   // part of it; "" if there is to be none
}

func (f failure) check(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("it succeeded")
	}
	e := k6x.AsError(err)
	if e.Kind != f.kind {
		t.Errorf("kind %v, want %v: %v", e.Kind, f.kind, err)
	}
	for _, part := range f.message {
		if !strings.Contains(e.Message, part) {
			t.Errorf("message\n%s\ndoes not say\n%s", e.Message, part)
		}
	}
	if !strings.Contains(e.Hint, f.hint) {
		t.Errorf("hint %q does not say %q", e.Hint, f.hint)
	}
	if !strings.Contains(e.Output, f.output) || f.output == "" && e.Output != "" {
		t.Errorf("output\n%s\nwant\n%s", e.Output, f.output)
	}
	for _, secret := range []string{cacheDir, "../", "127.0.0.1", "/usr/local/go"} {
		if text := e.Message + e.Hint + e.Output; strings.Contains(text, secret) {
			t.Errorf("%q is told to strangers:\n%s", secret, text)
		}
	}
}

func TestFailuresNameWhoIsAtFault(t *testing.T) {
	for name, c := range map[string]struct {
		k6         string
		extensions []string
		want       failure
	}{
		"an extension does not compile": {"v1.0.0", []string{"hello@v0.1.0", "broken@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/broken (example.com/xk6-broken@v0.1.0) does not compile:\n", "\nexample.com/xk6-broken@v0.1.0/broken.go:5:9: undefined: fortyTwo"},
			"another version", "example.com/xk6-broken@v0.1.0/broken.go:5:9: undefined: fortyTwo"}},
		"a dependency does not compile": {"v1.0.0", []string{"hello@v0.1.0", "baddep@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"example.com/brokendep@v1.0.0, which k6/x/baddep (example.com/xk6-baddep@v0.1.0) needs, does not compile:\n", "example.com/brokendep@v1.0.0/inner/inner.go:3:19: "},
			"", "inner.go:3:19: "}},
		"an extension has an untidy go.mod": {"v1.0.0", []string{"hello@v0.1.0", "untidy@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/untidy (example.com/xk6-untidy@v0.1.0) imports example.com/greeting, which none of the modules in its go.mod provides"},
			"Run go mod tidy in example.com/xk6-untidy", "finding module for package example.com/greeting"}},
		"a dependency has an untidy go.mod": {"v1.0.0", []string{"via@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"example.com/untidydep@v1.0.0, which k6/x/via (example.com/xk6-via@v0.1.0) needs, imports example.com/greeting"},
			"Run go mod tidy in example.com/untidydep", "finding module"}},
		"an extension imports what k6 does not have": {"v1.0.0", []string{"missing@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/missing (example.com/xk6-missing@v0.1.0) imports go.k6.io/k6/js/common, which go.k6.io/k6@v1.0.0 does not have"},
			"another version of go.k6.io/k6", "finding module"}},
		"an extension needs a newer k6": {"v1.0.0", []string{"hello@v0.1.0", "newer@v0.2.0"}, failure{k6x.Conflict,
			[]string{"k6/x/newer (example.com/xk6-newer@v0.2.0) needs k6 v1.1.0, but v1.0.0 was asked for"}, "Ask for k6 v1.1.0", ""}},
		"a dependency needs a newer k6": {"v1.0.0", []string{"vianewer@v0.1.0"}, failure{k6x.Conflict,
			[]string{"example.com/xk6-newer@v0.2.0, which k6/x/vianewer (example.com/xk6-vianewer@v0.1.0) needs, needs k6 v1.1.0, but v1.0.0 was asked for"}, "", ""}},
		"an extension needs a newer release of another": {"v1.1.0", []string{"newer@v0.1.0", "vianewer@v0.1.0"}, failure{k6x.Conflict,
			[]string{"k6/x/vianewer (example.com/xk6-vianewer@v0.1.0) needs k6/x/newer v0.2.0, but v0.1.0 was asked for"}, "", ""}},
		"a conflict rather than what comes of it": {"v1.0.0", []string{"newer@v0.2.0", "broken@v0.1.0"}, failure{k6x.Conflict,
			[]string{"k6/x/newer (example.com/xk6-newer@v0.2.0) needs k6 v1.1.0"}, "", ""}},
		"an extension for k6 v2 in k6 v1": {"v1.0.0", []string{"two@v0.1.0"}, failure{k6x.Conflict,
			[]string{"k6/x/two (example.com/xk6-two@v0.1.0) is made for go.k6.io/k6/v2 and would do nothing in k6 (go.k6.io/k6@v1.0.0)"}, "major version", ""}},
		"an extension for k6 v1 in k6 v2": {"v2.0.0", []string{"hello@v0.1.0"}, failure{k6x.Conflict,
			[]string{"k6/x/hello (example.com/xk6-hello@v0.1.0) is made for go.k6.io/k6 and"}, "", ""}},
		"an extension needs cgo": {"v1.0.0", []string{"cgo@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/cgo (example.com/xk6-cgo@v0.1.0) has no Go files for", "without cgo: it needs cgo"},
			"CGO_ENABLED=1 xk6 build --with example.com/xk6-cgo@v0.1.0, or k6build local", "build constraints exclude all Go files"}},
		"an extension needs a newer Go": {"v1.0.0", []string{"future@v0.1.0"}, failure{k6x.Conflict,
			[]string{"k6/x/future (example.com/xk6-future@v0.1.0) needs Go 1.99, and builds here are made with go1."}, "older version", ""}},
		"an extension is a program": {"v1.0.0", []string{"program@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/program (example.com/xk6-program@v0.1.0) is a program and no extension"}, "", "not an importable package"}},
		"an extension has no package": {"v1.0.0", []string{"noroot@v0.1.0"}, failure{k6x.BuildFailed,
			[]string{"k6/x/noroot (example.com/xk6-noroot@v0.1.0) is no extension: it has no package at its root"}, "", "finding module"}},
		"an extension has another name": {"v1.0.0", []string{"renamed@v0.1.0"}, failure{k6x.NotFound,
			[]string{"k6/x/renamed (example.com/xk6-renamed@v0.1.0) declares its path as example.org/xk6-renamed, but was required as example.com/xk6-renamed"},
			"--replace example.org/xk6-renamed=example.com/xk6-renamed@v0.1.0", ""}},
		"no such k6": {"v1.99.0", nil, failure{k6x.NotFound,
			[]string{"k6 (go.k6.io/k6@v1.99.0) is not to be found"}, "", ""}},
		"no such extension": {"v1.0.0", []string{"nonexistent@v0.1.0"}, failure{k6x.NotFound,
			[]string{"k6/x/nonexistent (example.com/xk6-nonexistent@v0.1.0) is not to be found"}, "", ""}},
		"no such dependency": {"v1.0.0", []string{"lost@v0.1.0"}, failure{k6x.NotFound,
			[]string{"example.com/gone@v1.0.0, which k6/x/lost (example.com/xk6-lost@v0.1.0) needs, is not to be found"}, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, Config{})
			var buf bytes.Buffer
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe(c.k6, c.extensions...)}, nil, &buf)
			c.want.check(t, err)
			if buf.Len() > 0 {
				t.Errorf("%d bytes were written", buf.Len())
			}
		})
	}
}

func TestNoGoForThePlatform(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0")
	recipe.Platform.Arch = "abacus"
	_, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard)
	failure{kind: k6x.NotFound, message: []string{"/abacus"}}.check(t, err)
}

func TestToolchainThatIsNotToBeHad(t *testing.T) {
	e := newEngine(t, Config{})
	recipe := e.recipe("v1.0.0")
	recipe.Toolchain = "go1.21.99"
	_, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard)
	failure{kind: k6x.Unavailable, message: []string{"go1.21.99"}}.check(t, err)
}

// TestProxyThatDoesNotAnswer shows that trouble of the module proxy is told from modules
// that do not exist.
func TestProxyThatDoesNotAnswer(t *testing.T) {
	for status, kind := range map[int]k6x.Kind{
		http.StatusNotFound:            k6x.NotFound,
		http.StatusGone:                k6x.NotFound,
		http.StatusForbidden:           k6x.Unavailable,
		http.StatusUnauthorized:        k6x.Unavailable,
		http.StatusTooManyRequests:     k6x.Unavailable,
		http.StatusInternalServerError: k6x.Unavailable,
		http.StatusServiceUnavailable:  k6x.Unavailable,
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "no", status)
			}))
			defer proxy.Close()
			e := newEngine(t, Config{Tool: standinTool(t, proxy.URL)})
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.77.0")}, nil, io.Discard)
			failure{kind: kind, message: []string{"k6 (go.k6.io/k6@v1.77.0)"}}.check(t, err)
		})
	}
	for name, proxy := range map[string]string{"off": "off", "nobody there": "http://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, Config{Tool: standinTool(t, proxy)})
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.77.0")}, nil, io.Discard)
			failure{kind: k6x.Unavailable}.check(t, err)
		})
	}
}

func TestChecksumDatabaseThatDoesNotVouch(t *testing.T) {
	db := httptest.NewServer(http.NotFoundHandler())
	defer db.Close()
	e := newEngine(t, Config{Dir: emptyDir(t), Tool: standinTool(t, testmod.Serve(t, "../../testdata/standin"), "GOSUMDB=sum.golang.org "+db.URL)})
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard)
	failure{kind: k6x.Unavailable, message: []string{"does not vouch for k6 (go.k6.io/k6@v1.0.0)"}}.check(t, err)
}
