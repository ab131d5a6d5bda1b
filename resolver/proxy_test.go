package resolver

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/egress"
	"k6x/internal/gomod"
	"k6x/internal/web"
)

func proxyOf(t *testing.T, client *http.Client, env ...string) *gomod.Proxy {
	t.Helper()
	p, err := gomod.NewProxy(gomod.ProxyConfig{Client: client, Env: env, Go: filepath.Join(t.TempDir(), "no-go-here"), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHops tells the rules of GOPROXY by what servers answer. The go command is
// stood in for by one that fails, so that going there can be told.
func TestHops(t *testing.T) {
	good := newModuleProxy(world)
	answers := map[string]http.Handler{"good.test": good}
	for host, status := range map[string]int{"absent.test": 404, "gone.test": 410, "refuses.test": 403, "broken.test": 500} {
		p := newModuleProxy(nil)
		p.fail("", status)
		answers[host] = p
	}
	client := clientOf(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answers[req.URL.Host].ServeHTTP(w, req)
	}))
	for _, test := range []struct{ goproxy, more, want string }{
		{"https://good.test", "", "ok"},
		{"good.test", "", "ok"},
		{"https://absent.test,https://good.test", "", "ok"},
		{"https://gone.test,https://good.test", "", "ok"},
		{"https://refuses.test,https://good.test", "", "refused"},
		{"https://broken.test,https://good.test", "", "failed"},
		{"https://refuses.test|https://good.test", "", "ok"},
		{"https://broken.test|https://good.test", "", "ok"},
		{"https://broken.test|https://absent.test", "", "failed"},
		{"https://absent.test,https://refuses.test", "", "refused"},
		{"https://absent.test,off", "", "absent"},
		{"https://absent.test", "", "absent"},
		{"off", "", "off"},
		{"off,https://good.test", "", "off"},
		{"direct", "", "failed"},
		{"https://absent.test,direct", "", "absent"},
		{"https://broken.test|direct", "", "failed"},
		{"https://good.test", "GONOPROXY=go.k6.io", "failed"},
		{"https://good.test", "GOPRIVATE=*.k6.io/k6", "failed"},
		{"https://good.test", "GOPRIVATE=example.com", "ok"},
		{"off", "GOPRIVATE=*.io", "failed"},
	} {
		env := []string{"GOPROXY=" + test.goproxy, test.more}
		if strings.Contains(test.more, "GOPRIVATE=*.io") {
			env = append(env, "GONOPROXY=go.k6.io")
		}
		p := proxyOf(t, client, env...)
		_, err := p.Versions(t.Context(), "go.k6.io/k6")
		refused, isRefusal := errors.AsType[*gomod.Refusal](err)
		got := "failed"
		switch {
		case err == nil:
			got = "ok"
		case errors.Is(err, gomod.ErrAbsent):
			got = "absent"
		case isRefusal && refused.Status == 0:
			got = "off"
		case isRefusal:
			got = "refused"
		}
		if got != test.want {
			t.Errorf("GOPROXY=%s %s: %s (%v), want %s", test.goproxy, test.more, got, err, test.want)
		}
	}
	p := proxyOf(t, client, "GOPROXY=https://good.test", "GOPRIVATE=go.k6.io", "GONOPROXY=none")
	if _, err := p.Versions(t.Context(), "go.k6.io/k6"); err != nil {
		t.Errorf("GONOPROXY=none does not undo GOPRIVATE: %v", err)
	}
}

func TestProxySettingsThatAreWrong(t *testing.T) {
	for _, goproxy := range []string{",", "ftp://e.com", "https://u:secret@%zz/"} {
		_, err := New(t.Context(), Config{Dir: t.TempDir(), Registries: []string{Embedded}, Env: []string{"GOPROXY=" + goproxy}})
		if k6x.KindOf(err) != k6x.Invalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("GOPROXY=%s: %v", goproxy, err)
		}
	}
}

func TestGOPROXYOff(t *testing.T) {
	dir := t.TempDir()
	r := resolverOf(t, newModuleProxy(world), worldRegistry, func(cfg *Config) { cfg.Dir, cfg.Env = dir, []string{"GOPROXY=off"} })
	const what, bring = "unavailable: go.k6.io/k6@v1.8.0 is not at hand, and nothing is fetched: GOPROXY is off\n(At hand: ", ". What another machine has, k6x cache export and import bring.)"
	if got, want := answer(t, r, "k6@v1.8.0"), what+"no version of it"+bring; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for _, version := range []string{"v1.7.0", "v1.10.0", "odd"} {
		name := filepath.Join(dir, "mod", "go.k6.io", "k6", "@v", version+".mod")
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("module go.k6.io/k6\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	r = resolverOf(t, newModuleProxy(world), worldRegistry, func(cfg *Config) { cfg.Dir, cfg.Env = dir, []string{"GOPROXY=off"} })
	if got, want := answer(t, r, "k6@v1.8.0"), what+"v1.10.0, v1.7.0"+bring; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if _, err := r.Resolve(t.Context(), k6x.List{{Name: k6x.K6, Constraint: k6x.Exactly("v1.8.0")}}); strings.Contains(k6x.AsError(err).Advice(), "ry again") || k6x.AsError(err).RetryAfter >= 0 {
		t.Errorf("it says to wait: %v", err)
	}
}

func TestFileProxy(t *testing.T) {
	dir := newModuleProxy(world).writeTo(t)
	path := filepath.ToSlash(dir)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	r := resolverOf(t, nil, worldRegistry, func(cfg *Config) { cfg.Env = []string{"GOPROXY=file://" + path} })
	for list, want := range map[string]string{
		"k6/x/new":         "k6@v1.8.0,k6/x/new@v0.3.0",
		"k6/x/new@v0.9.0":  "not_found: there is no k6/x/new v0.9.0\n(There are v0.3.0, v0.2.0, v0.1.0.)",
		"k6/x/gone@v1.0.0": "not_found: there is no k6/x/gone v1.0.0",
	} {
		if got := answer(t, r, list); got != want {
			t.Errorf("%s: got %s, want %s", list, got, want)
		}
	}
}

func TestModuleNamesAreEscaped(t *testing.T) {
	p := newModuleProxy(universe{"example.com/BigName@v1.0.0-RC1": "go 1.24\n"})
	client := proxyOf(t, clientOf(p), "GOPROXY=https://proxy.test/sub%2Fdir/")
	_, _ = client.GoMod(t.Context(), module.Version{Path: "example.com/BigName", Version: "v1.0.0-RC1"})
	if n := p.count("/sub/dir/example.com/!big!name/@v/v1.0.0-!r!c1.mod"); n != 1 {
		t.Errorf("asked for %v", p.asked)
	}
}

func TestCredentials(t *testing.T) {
	netrc := write(t, ".netrc", "# comment\nmachine proxy.test login me password secret\nmachine other.test\n  login you\n  password hidden\ndefault login all password all\n")
	var got string
	client := clientOf(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, password, _ := req.BasicAuth()
		if got = user + ":" + password; req.URL.User != nil && got == ":" {
			p, _ := req.URL.User.Password()
			got = req.URL.User.Username() + ":" + p
		}
		w.WriteHeader(500)
	}))
	for _, test := range []struct{ goproxy, goauth, want string }{
		{"https://proxy.test", "", "me:secret"},
		{"https://proxy.test:443", "netrc", "me:secret"},
		{"https://other.test", "netrc", "you:hidden"},
		{"https://third.test", "", ":"},
		{"http://proxy.test", "", ":"},
		{"https://proxy.test", "off", ":"},
		{"https://a:b@proxy.test", "", "a:b"},
	} {
		p := proxyOf(t, client, "GOPROXY="+test.goproxy, "GOAUTH="+test.goauth, "NETRC="+netrc)
		_, err := p.Versions(t.Context(), "go.k6.io/k6")
		if got != test.want {
			t.Errorf("%s %s: sent %s, want %s", test.goproxy, test.goauth, got, test.want)
		}
		if strings.Contains(err.Error(), "a:b") || strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows credentials: %v", err)
		}
	}
}

func TestRedirectsAndErrorsOfRealServers(t *testing.T) {
	real := httptest.NewServer(newModuleProxy(world))
	defer real.Close()
	front := httptest.NewServer(http.RedirectHandler(real.URL+"/go.k6.io/k6/@v/list", http.StatusFound))
	u, _ := url.Parse(front.URL)
	u.User = url.UserPassword("me", "secret")
	p := proxyOf(t, web.NewClient(nil), "GOPROXY="+u.String())
	if versions, err := p.Versions(t.Context(), "go.k6.io/k6"); err != nil || len(versions) != 4 || versions[0] != "v1.9.0-rc.1" {
		t.Errorf("%v, %v", versions, err)
	}
	front.Close()
	_, err := p.Versions(t.Context(), "go.k6.io/k6")
	if err == nil || gomod.Definite(err) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "me") && strings.Contains(err.Error(), "me@") {
		t.Errorf("a server that is down: %v", err)
	}
}

func TestRedirectsAreBounded(t *testing.T) {
	plain := httptest.NewServer(newModuleProxy(world))
	defer plain.Close()
	const list = "/go.k6.io/k6/@v/list"
	hops := 0
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if hops--; hops < 0 {
			http.Redirect(w, req, plain.URL+list, http.StatusFound)
		} else if hops == 0 {
			_, _ = io.WriteString(w, "v1.0.0\n")
		} else {
			http.Redirect(w, req, list, http.StatusFound)
		}
	}))
	defer front.Close()
	client := web.NewClient(nil)
	client.Transport = front.Client().Transport
	p := proxyOf(t, client, "GOPROXY="+front.URL)
	for n, want := range map[int]string{0: "a redirect from https to http", 10: "", 20: "more than 10 redirects"} {
		hops = n
		_, err := p.Versions(t.Context(), "go.k6.io/k6")
		if want == "" && err != nil || want != "" && (err == nil || gomod.Definite(err) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d redirects: %v", n, err)
		}
	}
}

func TestListsOfVersions(t *testing.T) {
	for body, want := range map[string]string{
		"v1.0.0\nv1.1.0 2026-01-02T03:04:05Z\n": "[v1.1.0 v1.0.0] <nil>",
		"\n \n":                                 "[] <nil>",
		"odd\nv1.0.0\n":                         "[v1.0.0] <nil>",
		"v0.1.1-0.20260102030405-0123456789ab":  "[] <nil>",
		"<html>\n<body>Log in</body>":           "[] the module proxy sends no list of versions",
	} {
		client := clientOf(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		versions, err := proxyOf(t, client, "GOPROXY=https://proxy.test").Versions(t.Context(), "example.com/a")
		if got := fmt.Sprint(versions, err); got != want || gomod.Definite(err) {
			t.Errorf("%q: %s, want %s", body, got, want)
		}
	}
}

// The go command fetches where GOAUTH is more than a file, and does it with the
// environment that it is given.
func TestDirectRunsTheGoCommand(t *testing.T) {
	mods := maps.Clone(world)
	mods["github.com/me/fork@v0.1.0"] = "module example.com/xk6-old\n"
	dir := filepath.ToSlash(newModuleProxy(mods).writeTo(t))
	env := []string{"GOPROXY=file://" + dir, "GOAUTH=mycommand", "GOSUMDB=off", "GOFLAGS=", "GOENV=off", "GOTOOLCHAIN=local",
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GOCACHE=" + t.TempDir(), "GOMODCACHE=" + filepath.Join(t.TempDir(), "mod"), "GOPATH=" + t.TempDir()}
	work := t.TempDir() // below another module
	if err := os.WriteFile(filepath.Join(work, "go.mod"), []byte("module m\nexclude example.com/xk6-retract v1.0.0\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := resolverOf(t, nil, worldRegistry, func(cfg *Config) {
		cfg.Env, cfg.Dir, cfg.AllowModules = env, filepath.Join(work, "data"), "github.com/me"
	})
	if got, want := answer(t, r, "k6/x/retract"), "k6@v1.8.0,k6/x/retract@v1.0.0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := answer(t, r, "k6/x/new@v0.9.0"), "not_found: there is no k6/x/new v0.9.0\n(There are v0.3.0, v0.2.0, v0.1.0.)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, list := range []string{"k6@^1,github.com/me/fork@v0.1.0", "k6@^1,github.com/me/fork"} {
		if got := answer(t, r, list); !strings.Contains(got, "declares its path as example.com/xk6-old, but was required as github.com/me/fork") {
			t.Errorf("%s: got %s", list, got)
		}
	}
	if left, err := os.ReadDir(filepath.Join(work, "data", "tmp")); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.Remove(filepath.Join(filepath.FromSlash(dir), "example.com", "xk6-new", "@v", "v0.1.0.mod")); err != nil {
		t.Fatal(err)
	}
	if got, want := answer(t, r, "k6/x/new@v0.1.0"), "unavailable: example.com/xk6-new@v0.1.0 cannot be fetched at the moment"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnswersForACommitAreChecked(t *testing.T) {
	for version, good := range map[string]bool{
		"v0.1.1-0.20260102030405-0123456789ab": true,
		"v1.2.3":                               true, // the commit has a tag
		"v0.1.1-0.20260102030405-ffffffffffff": false,
		"v2.0.0":                               false, // not of this path
		"../../v1":                             false,
		"":                                     false,
	} {
		client := clientOf(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"Version": "`+version+`"}`)
		}))
		got, err := proxyOf(t, client, "GOPROXY=https://proxy.test").Commit(t.Context(), "example.com/a", "0123456")
		if (err == nil) != good || good && got != version {
			t.Errorf("%q: %q, %v", version, got, err)
		}
	}
}

// A module that only its own host has is not fetched from one that is not public, which is not remembered as if there were
// no such module.
func TestDirectIsForPublicHosts(t *testing.T) {
	env := []string{"GOPROXY=https://proxy.test,direct"}
	network, err := egress.Start(env, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	r := resolverOf(t, newModuleProxy(world), worldRegistry, func(cfg *Config) {
		cfg.Env, cfg.Egress, cfg.AllowModules, cfg.Go = env, network, "*", filepath.Join(t.TempDir(), "no-go-here")
	})
	want := "forbidden: 127.0.0.1/internal@v1.0.0 cannot be fetched: 127.0.0.1 is not at a public address; " +
		"nothing is fetched from there unless the operator names it with --direct"
	if got := answer(t, r, "k6@v1.8.0,127.0.0.1/internal@v1.0.0"); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	network.Allow("127.0.0.1")
	if got := answer(t, r, "k6@v1.8.0,127.0.0.1/internal@v1.0.0"); strings.Contains(got, "public address") {
		t.Errorf("once it is named: %s", got)
	}
}

// What the operator has not set is not fetched from its own host.
func TestNoProxySetMeansNoDirect(t *testing.T) {
	asked := 0
	client := clientOf(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked++
		if req.URL.Host != "proxy.golang.org" {
			t.Errorf("asked %s", req.URL.Host)
		}
		http.NotFound(w, req)
	}))
	p := proxyOf(t, client)
	_, err := p.Versions(t.Context(), "git.corp.example/x")
	if !errors.Is(err, gomod.ErrAbsent) || errors.Is(err, gomod.ErrDirect) || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
	if told := k6x.AsError(unavailable("git.corp.example/x", err)); told.Kind != k6x.NotFound || !strings.Contains(told.Hint, "--direct") {
		t.Errorf("%v: %v (%s)", told.Kind, told, told.Hint)
	}
}
