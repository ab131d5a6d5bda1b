package main

import (
	"archive/tar"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	ociregistry "github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/clitest"
	"k6x/internal/podmantest"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// podman is what builds in containers.
var podman podmantest.Service

func TestMain(m *testing.M) {
	testscript.Main(closing{m}, map[string]func(){"k6x": main})
}

type closing struct{ m *testing.M }

func (c closing) Run() int {
	code := c.m.Run()
	if err := podman.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

const registry = `{
  "k6": {"module": "go.k6.io/k6", "versions": ["v1.0.0", "v1.1.0"]},
  "k6/x/hello": {"module": "example.com/xk6-hello", "versions": ["v0.1.0", "v0.1.1", "v0.2.1"], "repo": {"stars": 7}},
  "k6/x/world": {"module": "example.com/xk6-world", "versions": ["v0.1.0"], "repo": {"stars": 2}},
  "k6/x/broken": {"module": "example.com/xk6-broken", "versions": ["v0.1.0"], "repo": {"stars": 99}},
  "k6/x/newer": {"module": "example.com/xk6-newer", "versions": ["v0.2.0"]},
  "k6/x/panics": {"module": "example.com/xk6-panics", "versions": ["v0.1.0"]},
  "k6/x/cgo": {"module": "example.com/xk6-cgo", "versions": ["v0.1.0"], "cgo": true},
  "k6/x/newer": {"module": "example.com/xk6-newer", "versions": ["v0.2.0"]},
  "out": {"module": "example.com/xk6-out", "versions": ["v0.1.0"]},
  "subcommand:sub": {"module": "example.com/xk6-sub", "versions": ["v0.1.0"]}
}`

func TestScripts(t *testing.T) { runScripts(t, "testdata/script", nil) }

// Podman stands in for Docker, whose API it speaks.
func TestScriptsWithDocker(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: nothing is built in containers")
	}
	runScripts(t, "testdata/docker", map[string]string{
		"DOCKER_HOST": podman.Host(t), "K6X_DOCKER_IMAGE": podmantest.Image, "K6X_DOCKER_NETWORK": "host", "K6X_BUILDER": "docker",
	})
}

func runScripts(t *testing.T, dir string, vars map[string]string) {
	modules := testmod.Serve(t, "../../testdata/standin")
	caches, err := os.MkdirTemp("", "k6x-") // of Go, for all scripts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cache.RemoveAll(caches); err != nil {
			t.Error(err)
		}
	})
	if err := warmcache.CopyStandard(app.GoCache(caches)); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"GOPROXY": modules, "GOSUMDB": "off", "K6X_CACHE_DIR": caches} {
		t.Setenv(name, value) // for the services, which run in this process
	}
	file := filepath.Join(caches, "registry.json")
	if err := os.WriteFile(file, []byte(registry), 0o644); err != nil {
		t.Fatal(err)
	}
	readme := clitest.ReadReadme(t, "../../README.md", func(command string) bool {
		return !strings.Contains(command, "k6build") && !slices.ContainsFunc([]string{
			"go test",              // this is part of it
			"go run ./bench",       // takes minutes; its own tests run it
			"K6_BUILD_SERVICE_URL", // for the real k6, see e2e/stock_test.go
		}, func(prefix string) bool { return strings.HasPrefix(command, prefix) })
	})
	hub := httptest.NewServer(ociregistry.New(ociregistry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(hub.Close)
	goEnv, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	compiled := strings.Fields(string(goEnv))
	commands := readme.Commands(newRoot)
	maps.Copy(commands, map[string]func(*testscript.TestScript, bool, []string){
		"serve": clitest.Serve(newRoot), "platform": clitest.Platform, "code": exitCode, "nogo": noGo, "damage": damage,
		"tar": tarFile, "events": clitest.Events, "website": website,
	})
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GOPROXY", modules)
			env.Setenv("GOSUMDB", "off")
			env.Setenv("K6X_CACHE_DIR", caches)
			env.Setenv("K6X_BIN_DIR", env.WorkDir+"/bin")
			env.Setenv("K6X_BUILDER", "service,native")
			if !strings.HasPrefix(env.T().(interface{ Name() string }).Name(), "TestScripts/service-") {
				env.Setenv("K6X_REGISTRY", file)
			}
			env.Setenv("REGISTRY", file)
			env.Setenv("ROOT", root)
			env.Setenv("COMPILED", compiled[0])
			env.Setenv("FETCHED", compiled[1])
			env.Setenv("HUB", "oci://"+strings.TrimPrefix(hub.URL, "http://")+"/k6x/go")
			for name, value := range vars {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: commands,
	})
}

// exitCode is the command CODE PROGRAM ARGS..., which has to exit with the code.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code CODE PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = strconv.Itoa(e.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// noGo takes all programs but k6x from PATH.
func noGo(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, "k6x")); err == nil {
			ts.Setenv("PATH", dir)
			return
		}
	}
	ts.Fatalf("k6x is not on PATH")
}

// tarFile is the command NAME DIR, which writes the files in a directory to a tar file.
func tarFile(ts *testscript.TestScript, neg bool, args []string) {
	file, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w := tar.NewWriter(file)
	ts.Check(errors.Join(w.AddFS(os.DirFS(ts.MkAbs(args[1]))), w.Close(), file.Close()))
}

// website is the command VAR DIR, which serves the files in a directory by https, has k6x trust it and sets VAR to its URL. The file local.js
// imports /lib/lib.js from there.
func website(ts *testscript.TestScript, neg bool, args []string) {
	server := httptest.NewUnstartedServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	ts.Defer(server.Close)
	file := ts.MkAbs("website.pem")
	ts.Check(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("local.js"), []byte("import '"+server.URL+"/lib/lib.js'\n"), 0o644))
	ts.Setenv("SSL_CERT_FILE", file)
	ts.Setenv(args[0], server.URL)
}

// damage changes a byte in the middle of each file that matches the pattern.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("there is no %s", args[0])
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		ts.Check(err)
		data[len(data)/2] ^= 0xff
		ts.Check(os.WriteFile(name, data, 0o755))
	}
}

func TestHelpFitsATerminal(t *testing.T) { clitest.HelpFits(t, newRoot) }

func TestEachFlagHasAVariable(t *testing.T) {
	set := map[string]string{"K6X_MAX_BUILDS": "7", "K6X_ENV": "A=1\nB=2", "K6X_STORE_SIZE": "3GiB", "K6X_ADDR": "ignored"}
	cmd := newServiceCommand()
	if err := cmd.Flags().Set("addr", "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	err := cli.SetFromEnvironment(cmd.Flags(), "k6x", func(name string) (string, bool) { v, ok := set[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"max-builds": "7", "env": "[A=1,B=2]", "store-size": "3.0 GiB", "addr": "127.0.0.1:1",
	} {
		if got := cmd.Flags().Lookup(flag).Value.String(); got != want {
			t.Errorf("--%s is %s, want %s", flag, got, want)
		}
	}
	set["K6X_QUEUE"] = "many"
	if err := cli.SetFromEnvironment(newServiceCommand().Flags(), "k6x", func(name string) (string, bool) { v, ok := set[name]; return v, ok }); err == nil ||
		!strings.Contains(err.Error(), "K6X_QUEUE") {
		t.Errorf("a bad variable: %v", err)
	}
}

// Nothing is kept in directories that somebody happens to be in, or at the root.
func TestWithoutAHomeDirectoryTheCacheHasToBeNamed(t *testing.T) {
	t.Setenv("K6X_CACHE_DIR", "")
	for _, line := range []string{"run script.js", "build", "cache stats", "service"} {
		var out, errors strings.Builder
		root := newRoot()
		cmd, _, err := root.Find(strings.Fields(line))
		if err != nil {
			cmd = root
		}
		if err := cmd.Flag("cache-dir").Value.Set(""); err != nil {
			t.Fatal(err)
		}
		if got := cli.Run(context.Background(), root, strings.Fields(line), &out, &errors); got != cli.ExitUsage || !strings.Contains(errors.String(), "--cache-dir") {
			t.Errorf("k6x %s: exit code %d\n%s", line, got, errors.String())
		}
	}
}

// A log of a build that runs may be empty for long, and ends as all else does when a signal comes.
func TestTheLogOfABuildThatRuns(t *testing.T) {
	ctx, signal := context.WithCancelCause(t.Context())
	const build = "/builds/00000000-0000-4000-8000-000000000000"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == build {
			fmt.Fprint(w, `{"outcome": "running"}`)
			return
		}
		_ = http.NewResponseController(w).Flush() // a client that is gone is seen below
		signal(errors.New("terminated signal received"))
		<-r.Context().Done()
	}))
	defer s.Close()
	var out, errs strings.Builder
	code := cli.Run(ctx, newRoot(), []string{"log", s.URL + build}, &out, &errs)
	if code != cli.ExitFailure || out.String() != "" || !strings.Contains(errs.String(), "how far it is: "+s.URL+build+"\n") || !strings.HasSuffix(errs.String(), "\nk6x: interrupted\n") {
		t.Errorf("%d, %q, %q", code, &out, &errs)
	}
}

func TestExitCodes(t *testing.T) {
	t.Setenv("K6X_CACHE_DIR", t.TempDir())
	for want, lines := range map[int][]string{
		cli.ExitOK:      {"service --help", "--help", "completion bash", "completion", "cache", "help cache"},
		cli.ExitFailure: {"service --addr 256.0.0.1:1", "service --registry /does/not/exist.json"},
		cli.ExitUsage: {"service --nonsense", "service extra", "service --log-format xml", "service --url nonsense", "service --store-size lots",
			"service --env BAD", "service --env GOFLAGS=-race", "service --platforms foo", "service --platforms linux/z80", "service --preload k6@@", "cache nonsense", "cache prune bogus",
			"cache prune foo://bucket", "cache prune a b", "cache export", "completion foo", "completion bash foo", "man foo", "man --dir /does/not/exist",
			"preload foo", "preload --platform foo", "gocacheprog"},
	} {
		for _, line := range lines {
			var out, errors strings.Builder
			if got := cli.Run(context.Background(), newRoot(), strings.Fields(line), &out, &errors); got != want {
				t.Errorf("k6x %s: exit code %d, want %d\n%s", line, got, want, errors.String())
			}
		}
	}
}
