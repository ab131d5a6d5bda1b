package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// brokenPeer is the variable that makes the stand-in for the program that it names fail.
const brokenPeer = "K6X_TEST_BROKEN_PEER"

// standIns puts programs with the names of the peers on PATH, and none else of these names. They take the arguments that
// the peers take, and make a file.
func standIns(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"xk6", "k6build"} {
		if err := os.WriteFile(filepath.Join(dir, executable(name)), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

func executable(name string) string {
	if runtime.GOOS == "windows" {
		return name + ".exe"
	}
	return name
}

// list is a flag that may be given many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// pretend does what a peer does with its command line, but compiles nothing.
func pretend(name string, args []string) error {
	if os.Getenv(brokenPeer) == name {
		return fmt.Errorf("%s does not know what it wants", name)
	}
	if filepath.Base(os.Getenv("GOCACHE")) != name || os.Getenv("GOPROXY") == "" || os.Getenv("XK6_K6_REPO") != "" {
		return fmt.Errorf("the environment is not that of a %s here: %q", name, os.Environ())
	}
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	var with, names list
	var k6, output, platform, catalog, store string
	switch name {
	case "xk6":
		if len(args) < 2 || args[0] != "build" {
			return fmt.Errorf("unknown command: %q", args)
		}
		k6, args = args[1], args[2:]
		flags.Var(&with, "with", "")
		flags.StringVar(&output, "output", "", "")
	case "k6build":
		if len(args) < 1 || args[0] != "local" {
			return fmt.Errorf("unknown command: %q", args)
		}
		args = args[1:]
		flags.StringVar(&k6, "k", "", "")
		flags.StringVar(&platform, "p", "", "")
		flags.StringVar(&catalog, "c", "", "")
		flags.StringVar(&store, "f", "", "")
		flags.StringVar(&output, "o", "", "")
		flags.Bool("g", false, "")
		flags.Var(&names, "d", "")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if name == "k6build" {
		var err error
		if with, err = fromCatalog(catalog, names); err != nil || platform != host().String() || store == "" {
			return fmt.Errorf("%q: %w", args, err)
		}
	}
	if k6 != "v1.1.0" || len(with) == 0 || len(with) == 3 && with.String() != "example.com/xk6-hello@v0.1.1,example.com/xk6-newer@v0.1.0,example.com/xk6-world@v0.1.0" {
		return fmt.Errorf("k6 %s with %q was asked for", k6, with)
	}
	return os.WriteFile(output, []byte("k6"), 0o755)
}

// fromCatalog returns the modules for names with versions.
func fromCatalog(file string, names []string) (with list, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var catalog map[string]struct {
		Module   string
		Versions []string
	}
	if err := json.Unmarshal(data, &catalog); err != nil {
		return nil, err
	}
	if catalog["k6"].Module != "go.k6.io/k6" {
		return nil, fmt.Errorf("no k6 in %s", data)
	}
	for _, n := range names {
		name, version, _ := strings.Cut(n, ":")
		e, ok := catalog[name]
		if !ok || len(e.Versions) != 1 || e.Versions[0] != version {
			return nil, fmt.Errorf("no %s in %s", n, data)
		}
		with = append(with, e.Module+"@"+version)
	}
	return with, nil
}

// newTestWorld returns one that has built nothing.
func newTestWorld(t *testing.T, log io.Writer) *world {
	t.Helper()
	source, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{count: 1, short: true, log: log, dir: t.TempDir(), source: source}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestPeersBuildTheirWayAndOneThatCannotIsLeftOut(t *testing.T) {
	standIns(t)
	t.Setenv(brokenPeer, "xk6")
	t.Setenv("XK6_K6_REPO", "example.com/fork")
	var log bytes.Buffer
	w := newTestWorld(t, &log)
	b, err := w.building(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	peers, err := w.peers(t.Context(), b)
	if err != nil || len(peers) != 1 || peers[0].name != "k6build" || !strings.Contains(log.String(), "xk6 is left out: xk6: exit status 1\nxk6 does not know") {
		t.Fatalf("%d peers, %v, %s", len(peers), err, &log)
	}
	for n := 1; n <= b.combinations(); n++ {
		if _, err := peers[0].build(t.Context(), w, b.combination(n)); err != nil {
			t.Error(err)
		}
	}
	t.Setenv(brokenPeer, "k6build")
	if _, err := peers[0].build(t.Context(), w, b.combination(1)); err != nil {
		t.Errorf("the environment is not the one that it had at first: %v", err)
	}
}

func TestOurOwnK6buildIsNoPeer(t *testing.T) {
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: it takes long, and is left to K6X_TEST_FULL=1")
	}
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out all that starts programs")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, executable("k6build"))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "k6x/cmd/k6build").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if self, err := os.Executable(); err != nil || !isOurs(program) || isOurs(self) {
		t.Errorf("ours: %t, another: %t, %v", isOurs(program), isOurs(self), err)
	}
}
