package main

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"k6x/cache"
	"k6x/cmd/internal/app"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/clitest"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"k6build": main})
}

func TestScripts(t *testing.T) {
	modules := testmod.Serve(t, "../../testdata/standin")
	caches, err := os.MkdirTemp("", "k6build-") // of Go, for all scripts
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
	t.Setenv("GOPROXY", modules) // for the servers, which run in this process
	t.Setenv("K6BUILD_CACHE_DIR", caches)
	t.Setenv("GOSUMDB", "off")
	readme := clitest.ReadReadme(t, "../../README.md", func(command string) bool { return strings.Contains(command, "./cmd/k6build") })
	commands := readme.Commands(newRoot)
	maps.Copy(commands, map[string]func(*testscript.TestScript, bool, []string){
		"serve": clitest.Serve(newRoot), "golden": goldenOutput, "platform": clitest.Platform, "get": clitest.Get,
	})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("K6BUILD_CACHE_DIR", caches)
			env.Setenv("GOPROXY", modules)
			env.Setenv("GOSUMDB", "off")
			return nil
		},
		Cmds: commands,
	})
}

// golden FILE compares stdout with a file; digests and addresses are masked.
func goldenOutput(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: golden FILE")
	}
	got := regexp.MustCompile(`[0-9a-f]{64}`).ReplaceAllString(ts.ReadFile("stdout"), "DIGEST")
	got = regexp.MustCompile(`http://[^/\s]+`).ReplaceAllString(got, "http://SERVER")
	if want := ts.ReadFile(args[0]); got != want {
		ts.Fatalf("got:\n%swant:\n%s", got, want)
	}
}

func TestExitCodes(t *testing.T) {
	t.Setenv("K6BUILD_CACHE_DIR", t.TempDir())
	dir := t.TempDir()
	for want, lines := range map[int][]string{
		cli.ExitOK:      {"--help", "version", "local --help", "remote --help", "server --help", "store --help", "--version", "-v", "help", "help local", "completion bash", "completion"},
		cli.ExitFailure: {"local -c /does/not/exist.json", "remote -s http://127.0.0.1:1", "local -o " + dir},
		cli.ExitUsage: {"server -e GOFLAGS=-race",
			"nonsense", "local --nonsense", "local extra", "local -k banana", "local -p beos", "local --k6modpath example.com/k6",
			"local --catalog-for nonsense", "remote -s nonsense", "server -p many", "server --build-lock redis", "server --build-lock s3",
			"server --store-url nonsense", "server --otel-endpoint nonsense", "store -d nonsense", "store -l loud", "store --max-object 0", "local -e BAD", "server -e BAD", "remote -p foo", "local -p foo",
			"completion foo", "completion bash foo", "help foo", "version foo", "store --otel-endpoint nonsense", "server --otel-endpoint localhost:4317/x",
		},
	} {
		for _, line := range lines {
			var out, errors strings.Builder
			if got := cli.Run(t.Context(), newRoot(), strings.Fields(line), &out, &errors); got != want {
				t.Errorf("k6build %s: exit code %d, want %d\n%s", line, got, want, errors.String())
			}
		}
	}
}

// What the original k6build takes is taken.
func TestCommandLinesOfK6buildAreRead(t *testing.T) {
	for _, line := range []string{
		"server --catalog c.json --catalog-for go.k6.io/k6/v2=v2.json --store-url http://localhost:9000 --copy-go-env --env A=1,B=2 --port 8000 --log-level INFO",
		"server --s3-bucket b --s3-endpoint http://localhost:4566 --s3-region r --build-lock s3 --enable-cgo=true --allow-build-semvers -v -g -e A=1",
		"server --s3-lock-lease 1s --s3-lock-backoff 1s --s3-lock-grace 3s --s3-lock-max-lease 3s --shutdown-timeout 10s --cache-max-age 1h --otel-endpoint localhost:4317",
		"store --store-dir d --port 9000 --download-url http://localhost --log-level INFO --shutdown-timeout 10s --otel-endpoint localhost:4317",
		"local -k v1 -d k6/x/a:v1 -p linux/amd64 -c c.json --catalog-for go.k6.io/k6/v2=v2.json -f d -v -g -e A=1 -o k6 -q --allow-build-semvers --k6modpath go.k6.io/k6",
		"remote -s http://localhost:8000 -k v1 -d k6/x/a:v1 -p linux/amd64 -o k6 -q --k6modpath go.k6.io/k6",
	} {
		cmd, args, err := newRoot().Find(strings.Fields(line))
		if err == nil {
			err = cmd.ParseFlags(args)
		}
		if err != nil {
			t.Errorf("k6build %s: %v", line, err)
		}
	}
}

func TestHelpFitsATerminal(t *testing.T) { clitest.HelpFits(t, newRoot) }

func TestEachFlagHasAVariable(t *testing.T) {
	set := map[string]string{"K6BUILD_PORT": "7", "K6BUILD_ENV": "A=1\nB=2", "K6BUILD_COPY_GO_ENV": "false", "K6BUILD_CACHE_MAX_AGE": "3m"}
	cmd := newServerCommand()
	err := cli.SetFromEnvironment(cmd.Flags(), "k6build", func(name string) (string, bool) { v, ok := set[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"port": "7", "env": "[A=1,B=2]", "copy-go-env": "false", "cache-max-age": (3 * time.Minute).String()} {
		if got := cmd.Flags().Lookup(flag).Value.String(); got != want {
			t.Errorf("--%s is %s, want %s", flag, got, want)
		}
	}
}
