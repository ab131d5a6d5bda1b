package main

import (
	"context"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"k6x/cmd/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"k6x": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("K6X_CACHE_DIR", env.WorkDir+"/cache")
			return nil
		},
	})
}

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

func TestExitCodes(t *testing.T) {
	t.Setenv("K6X_CACHE_DIR", t.TempDir())
	for want, lines := range map[int][]string{
		cli.ExitOK:      {"service --help", "--help"},
		cli.ExitFailure: {"service --addr 256.0.0.1:1", "service --registry /does/not/exist.json", "service --env GOFLAGS=-race"},
		cli.ExitUsage:   {"service --nonsense", "service extra", "service --log-format xml", "service --url nonsense", "service --store-size lots"},
	} {
		for _, line := range lines {
			var out, errors strings.Builder
			if got := cli.Run(context.Background(), newRoot(), strings.Fields(line), &out, &errors); got != want {
				t.Errorf("k6x %s: exit code %d, want %d\n%s", line, got, want, errors.String())
			}
		}
	}
}
