package e2e

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const redisScript = `import redis from "k6/x/redis";
export default function () { console.log("the client is a " + typeof redis.Client); }
`

// stockK6 returns a k6 as anyone can make it: go build go.k6.io/k6, no extension.
func stockK6(t *testing.T) string {
	t.Helper()
	warmUp(t)
	stock.Do(func() {
		dir := filepath.Join(world.dir, "stock")
		if stock.err = os.MkdirAll(dir, 0o755); stock.err != nil {
			return
		}
		goMod := []byte("module scratch\n\ngo 1.24.0\n\nrequire go.k6.io/k6 v1.8.1\n")
		if stock.err = os.WriteFile(filepath.Join(dir, "go.mod"), goMod, 0o644); stock.err != nil {
			return
		}
		warm := filepath.Join(world.warm(), "go")
		build := exec.Command("go", "build", "-mod=mod", "-trimpath", "-o", "k6", "go.k6.io/k6")
		build.Dir = dir
		build.Env = append(slices.Clone(world.env), "GOFLAGS=", "CGO_ENABLED=0",
			"GOMODCACHE="+filepath.Join(warm, "modcache"), "GOCACHE="+filepath.Join(warm, "gocache"))
		stock.output, stock.err = build.CombinedOutput()
	})
	if stock.err != nil {
		t.Fatalf("go build go.k6.io/k6: %v\n%s", stock.err, tail(string(stock.output), 3000))
	}
	return filepath.Join(world.dir, "stock", "k6")
}

var stock struct {
	sync.Once
	output []byte
	err    error
}

// user is somebody with a stock k6 and a home of their own.
type user struct {
	t       *testing.T
	k6      string
	home    string
	service string // URL
	token   string // for the cloud; "": none
}

func newUser(t *testing.T, service string) *user {
	t.Helper()
	return &user{t: t, k6: stockK6(t), home: t.TempDir(), service: service}
}

// run runs k6 and returns what the user sees, and the exit code.
func (u *user) run(args ...string) (terminal string, code int) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, u.k6, args...)
	cmd.Dir = u.home
	cmd.Env = []string{"HOME=" + u.home, "XDG_CACHE_HOME=" + filepath.Join(u.home, "cache"), "PATH=" + os.Getenv("PATH"),
		"NO_COLOR=1", "K6_NO_USAGE_REPORT=true", "K6_BUILD_SERVICE_URL=" + u.service}
	if u.token != "" {
		cmd.Env = append(cmd.Env, "K6_CLOUD_TOKEN="+u.token)
	}
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		u.t.Fatalf("k6 %s: %v, %v\n%s", strings.Join(args, " "), err, ctx.Err(), out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// runScript runs a script.
func (u *user) runScript(script string) (terminal string, code int) {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.home, "script.js"), []byte(script), 0o644); err != nil {
		u.t.Fatal(err)
	}
	return u.run("run", "--quiet", "script.js")
}

// works runs a script that has to succeed and to print words.
func (u *user) works(script string, words ...string) {
	u.t.Helper()
	out, code := u.runScript(script)
	if code != 0 {
		u.t.Errorf("exit code %d", code)
	}
	for _, want := range words {
		if !strings.Contains(out, want) {
			u.t.Errorf("it does not say %q", want)
		}
	}
	if u.t.Failed() {
		u.t.Fatalf("of\n%s\nk6 says\n%s", script, tail(out, 4000))
	}
}

// kept returns the binaries that k6 keeps for this user.
func (u *user) kept() (binaries []string) {
	_ = filepath.WalkDir(filepath.Join(u.home, "cache"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() == "k6" {
			binaries = append(binaries, path)
		}
		return nil
	})
	return binaries
}

func TestStockK6GetsWhatItsScriptsImport(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	u := newUser(t, s.url)
	u.works(redisScript, "the client is a function")
	kept := u.kept()
	if len(kept) != 1 {
		t.Fatalf("k6 keeps %v", kept)
	}
	body, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := (answer{body: body}).digest(), fetch(t, s.url+host+redisList).digest(); got != want {
		t.Errorf("k6 runs %s, the path of its list gives %s", got, want)
	}
	// The second time it is there.
	downloads := func() int { return strings.Count(s.logged(t), "method=GET path="+host) }
	before := downloads()
	u.works(redisScript, "the client is a function")
	if after := downloads(); before == 0 || after != before || s.metric(t, "k6x_builds_total") != 1 {
		t.Errorf("%d downloads, then %d, %v builds", before, after, s.metric(t, "k6x_builds_total"))
	}

	constrained := newUser(t, s.url)
	constrained.works(`"use k6 >= v1.8";
"use k6 with k6/x/one >= 0.1";
"use k6 with k6/x/versions <1.2";
import { name } from "k6/x/one";
import versions from "k6/x/versions";
export default function () { console.log("found " + name() + " and " + versions.name()); }
`, "found k6/x/one and k6/x/versions")
	if kept = constrained.kept(); len(kept) != 1 {
		t.Fatalf("k6 keeps %v", kept)
	}
	version, err := exec.Command(kept[0], "version").CombinedOutput()
	// v1.2.0 is excluded, v1.1.0 retracted.
	if err != nil || !strings.Contains(string(version), "xk6-versions v1.0.0") {
		t.Errorf("%v\n%s", err, version)
	}
}

func TestStockK6GetsSubcommands(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t))
	if out, code := newUser(t, s.url).run("x", "hello"); code != 0 || !strings.Contains(out, "\nhello") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if out, code := newUser(t, s.url).run("x", "hallo"); code == 0 || !strings.Contains(out, "subcommand:hallo") {
		t.Errorf("a subcommand that nobody has: exit code %d\n%s", code, out)
	}
}

func TestStockK6ShowsTheCause(t *testing.T) {
	t.Parallel()
	s := start(t, warmDir(t), "--filter", "[?module!='ext.example/xk6-two']")
	for name, c := range map[string]struct {
		script string
		says   []string
	}{
		"unknown extension":     {`import "k6/x/reddis";`, []string{"k6/x/reddis", "k6/x/redis"}},
		"nothing satisfies":     {`"use k6 with k6/x/versions > 5"; import "k6/x/versions";`, []string{"k6/x/versions", "5", "v1.2.0", "v1.0.0"}},
		"nothing satisfies k6":  {`"use k6 > v1.90"; import "k6/x/one";`, []string{"k6", "1.90", "v1.8.1"}},
		"they do not agree":     {`"use k6 >= v1.8"; "use k6 with k6/x/redis = v0.3.0"; import "k6/x/redis";`, []string{"k6/x/redis", "v0.3.0", "v0.3.6", "v1.8.1"}},
		"does not compile":      {`import "k6/x/broken";`, []string{"k6/x/broken", "broken.go:20:28: undefined: undefinedName"}},
		"a rule is against it":  {`import "k6/x/two";`, []string{"k6/x/two", "[?module!='ext.example/xk6-two']"}},
		"it cannot be built so": {`import "k6/x/cgo";`, []string{"k6/x/cgo", "cgo"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := newUser(t, s.url).runScript(c.script + "\nexport default function () {}\n")
			if code == 0 {
				t.Error("it succeeds")
			}
			for _, want := range c.says {
				// The first line tells what the script asks for, and is none of the cause.
				if _, cause, _ := strings.Cut(out, "Failed to provision"); !strings.Contains(cause, want) {
					t.Errorf("it does not say %q", want)
				}
			}
			for _, no := range []string{s.cache, world.dir, "exit status"} {
				if strings.Contains(out, no) {
					t.Errorf("it says %q", no)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// The service is below a path: it is told so, or a proxy that takes the path away and
// k6x does not know of it but for its own URL. The user's token for the cloud is
// sent, and is nowhere afterwards.
func TestStockK6BelowAPathAndWithAToken(t *testing.T) {
	forFull(t)
	t.Parallel()
	const token = "a-token-that-is-nobodys-business"
	for name, strip := range map[string]bool{"k6x knows the path": false, "a proxy strips it": true} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex // guards seen and target
			var seen []string
			var target *url.URL
			proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				mu.Lock()
				defer mu.Unlock()
				if r.In.Method == http.MethodPost {
					seen = append(seen, r.In.URL.Path+" "+r.In.Header.Get("Authorization"))
				}
				r.SetURL(target)
				r.SetXForwarded()
				r.Out.Host = r.In.Host
				if strip {
					r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/k6x")
				}
			}})
			t.Cleanup(proxy.Close)
			flags := []string{"--log-level", "debug", "--base-path", "/k6x"}
			if strip {
				flags = []string{"--log-level", "debug", "--url", proxy.URL + "/k6x"}
			}
			s := start(t, warmDir(t), flags...)
			mu.Lock()
			target, _ = url.Parse(s.url)
			target.Path = "" // what is printed may have the path
			mu.Unlock()
			u := newUser(t, proxy.URL+"/k6x")
			u.token = token
			u.works(redisScript, "the client is a function")
			if want := []string{"/k6x/build Bearer " + token}; !slices.Equal(seen, want) {
				t.Fatalf("k6 sends %q, want %q", seen, want)
			}
			if log := s.logged(t); strings.Contains(log, token) || !strings.Contains(log, "/build") {
				t.Error("the log has the token, or nothing of the request")
			}
			for _, part := range []string{"logs", "resolver", "store"} {
				_ = filepath.WalkDir(filepath.Join(s.cache, part), func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Type().IsRegular() {
						if text, err := os.ReadFile(path); err != nil || bytes.Contains(text, []byte(token)) {
							t.Errorf("%s has the token, or is hidden: %v", path, err)
						}
					}
					return nil
				})
			}
		})
	}
}
