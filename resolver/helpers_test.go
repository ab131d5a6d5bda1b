package resolver

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
)

// universe is a set of module versions: path@version → the go.mod file,
// whose module line may be left out.
type universe map[string]string

// moduleProxy serves a universe as a module proxy and counts what it is asked for.
type moduleProxy struct {
	mods universe

	mu     sync.Mutex        // guards what follows
	asked  map[string]int    // by path
	status map[string]int    // answers instead of the real ones; "" stands for every path
	gate   chan struct{}     // if not nil, answers wait for it
	hidden map[string]string // versions that lists do not have, by the path of the list
}

func newModuleProxy(mods universe) *moduleProxy {
	return &moduleProxy{mods: mods, asked: map[string]int{}, status: map[string]int{}}
}

func (p *moduleProxy) fail(path string, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status[path] = status
}

func (p *moduleProxy) hide(path, version string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hidden = map[string]string{path: version}
}

func (p *moduleProxy) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *moduleProxy) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	p.mu.Lock()
	p.asked[req.URL.Path]++
	status, gate, hidden := max(p.status[req.URL.Path], p.status[""]), p.gate, p.hidden[req.URL.Path]
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if status != 0 {
		http.Error(w, "no", status)
		return
	}
	if data, ok := p.file(strings.TrimPrefix(req.URL.Path, "/")); ok {
		if hidden != "" {
			data = strings.ReplaceAll(data, hidden+"\n", "")
		}
		_, _ = io.WriteString(w, data)
		return
	}
	http.NotFound(w, req)
}

// file returns what a module proxy has under a path.
func (p *moduleProxy) file(name string) (string, bool) {
	escaped, rest, _ := strings.Cut(name, "/@v/")
	path, err := module.UnescapePath(escaped)
	if err != nil {
		return "", false
	}
	var list []string
	for mod, body := range p.mods {
		have, version, _ := strings.Cut(mod, "@")
		if have != path {
			continue
		}
		if !module.IsPseudoVersion(version) {
			list = append(list, version+"\n")
		} else if rev, _ := module.PseudoVersionRev(version); rest == rev[:7]+".info" {
			return `{"Version": "` + version + `"}`, true
		}
		if rest == version+".mod" {
			if strings.HasPrefix(body, "module ") {
				return body, true
			}
			return "module " + path + "\n" + body, true
		}
	}
	slices.Sort(list)
	return strings.Join(list, ""), rest == "list" && list != nil
}

// writeTo writes the universe as a directory that is a module proxy.
func (p *moduleProxy) writeTo(t testing.TB) string {
	t.Helper()
	dir, temp := t.TempDir(), t.TempDir()
	for mod := range p.mods {
		path, version, _ := strings.Cut(mod, "@")
		escaped, err := module.EscapePath(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"list", version + ".mod"} {
			data, _ := p.file(escaped + "/@v/" + name)
			if err := keep(temp, filepath.Join(dir, filepath.FromSlash(escaped), "@v", name), []byte(data)); err != nil {
				t.Fatal(err)
			}
		}
		info := `{"Version": "` + version + `"}`
		if err := keep(temp, filepath.Join(dir, filepath.FromSlash(escaped), "@v", version+".info"), []byte(info)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// inProcess is a transport without a network, so that it can be used where time is
// not real.
type inProcess struct{ http.Handler }

func (h inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

func clientOf(h http.Handler) *http.Client { return &http.Client{Transport: inProcess{h}} }

// write makes a file in a directory of the test's own.
func write(t testing.TB, name, data string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// logTo returns a logger and what it has logged.
func logTo() (*slog.Logger, *logged) {
	l := &logged{}
	return slog.New(slog.NewTextHandler(l, nil)), l
}

type logged struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// resolverOf returns a resolver with the given registry on a module proxy.
func resolverOf(t testing.TB, p *moduleProxy, registry string, change func(*Config)) *Resolver {
	t.Helper()
	cfg := Config{
		Registries: []string{write(t, "registry.json", registry)},
		Dir:        t.TempDir(),
		Env:        []string{"GOPROXY=https://proxy.test"},
		Toolchain:  "go1.26.8",
		Client:     clientOf(p),
	}
	if change != nil {
		change(&cfg)
	}
	r, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t testing.TB, list string) k6x.List {
	t.Helper()
	l, err := k6x.ParseList(list)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answer returns the pinned list that a list resolves to, or the kind, message and hint
// of the error.
func answer(t testing.TB, r *Resolver, list string) string {
	t.Helper()
	res, err := r.Resolve(t.Context(), parse(t, list))
	if err == nil {
		return res.List().String()
	}
	e := k6x.AsError(err)
	text := e.Kind.String() + ": " + e.Message
	if e.Hint != "" {
		text += "\n(" + e.Hint + ")"
	}
	return text
}
