package launcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k6x"
	"k6x/client"
	"k6x/launcher/binaries"
)

var host = k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH}

// k6 returns a small program that has a k6 v1.1.0 in it, made by the go command.
func k6(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":        "module k6\n\ngo 1.21\n\nrequire go.k6.io/k6 v1.1.0\n\nreplace go.k6.io/k6 => ./k6\n",
		"main.go":       "package main\n\nimport \"go.k6.io/k6/cmd\"\n\nfunc main() { cmd.Execute() }\n",
		"k6/go.mod":     "module go.k6.io/k6\n\ngo 1.21\n",
		"k6/cmd/cmd.go": "package cmd\n\nfunc Execute() {}\n",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", "out", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// shop is a source with some extensions, each in version v0.1.0.
type shop struct {
	name  string
	has   []string
	data  []byte
	open  error            // of Open
	close error            // of Close
	fails error            // of Resolve
	fetch map[string]error // of Fetch, if the list has the name
	asked []string         // lists that were resolved, and that were fetched after a "+"
}

func (s *shop) source() Source {
	return Source{s.name, func(context.Context) (Builder, error) { return s, s.open }}
}

func (s *shop) Close() error { return s.close }
func (s *shop) pin(name string) k6x.Constraint {
	if name == k6x.K6 {
		return k6x.Exactly("v1.1.0")
	}
	return k6x.Exactly("v0.1.0")
}

func (s *shop) Resolve(_ context.Context, _ k6x.Platform, list k6x.List) (k6x.List, error) {
	s.asked = append(s.asked, list.String())
	if s.fails != nil {
		return nil, s.fails
	}
	pinned := slices.Clone(list)
	for i, dep := range pinned {
		if dep.Name != k6x.K6 && !slices.Contains(s.has, dep.Name) {
			return nil, k6x.Errorf(k6x.NotFound, "%s is not in the registry", dep.Name)
		}
		pinned[i].Constraint = s.pin(dep.Name)
	}
	return pinned, nil
}

func (s *shop) Fetch(_ context.Context, _ k6x.Platform, pinned k6x.List, file *os.File) error {
	s.asked = append(s.asked, "+"+pinned.String())
	for _, dep := range pinned {
		if err := s.fetch[dep.Name]; err != nil {
			return err
		}
	}
	_, err := file.Write(s.data)
	return err
}

func parse(t *testing.T, s string) k6x.List {
	t.Helper()
	list, err := k6x.ParseList(s)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// bench is a launcher with what it printed.
type bench struct {
	*Launcher
	t       *testing.T
	printed []string
}

func newBench(t *testing.T, shops ...*shop) *bench {
	var sources []Source
	for _, s := range shops {
		sources = append(sources, s.source())
	}
	dir, err := binaries.New(binaries.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t}
	b.Launcher = &Launcher{Dir: dir, Sources: sources, Platform: host, Print: func(detail bool, text string) {
		if !detail {
			b.printed = append(b.printed, text)
		}
	}}
	return b
}

func (b *bench) get(list string) (string, error) {
	b.t.Helper()
	var needs k6x.List
	if list != "" {
		needs = parse(b.t, list)
	}
	found, release, err := b.Get(b.t.Context(), needs)
	if err != nil {
		return "", err
	}
	release()
	return found.List().String(), nil
}

func (b *bench) want(list, versions string) {
	b.t.Helper()
	if got, err := b.get(list); err != nil || got != versions {
		b.t.Errorf("%s gives %s, %v; want %s", list, got, err, versions)
	}
}

func TestSourcesAreAskedInTurnUntilOneAnswers(t *testing.T) {
	data := k6(t)
	down := k6x.Errorf(k6x.Unavailable, "no answer from builds.test")
	absent := &shop{name: "absent", open: errors.New("it is not set up")}
	broken := &shop{name: "broken", fails: down}
	works := &shop{name: "works", data: data, has: []string{"k6/x/a"}}

	b := newBench(t, absent, broken, works)
	b.want("k6/x/a", "k6@v1.1.0,k6/x/a@v0.1.0")
	if len(absent.asked) != 0 || !slices.Contains(b.printed, "broken: no answer from builds.test; trying works instead") {
		t.Errorf("printed %q", b.printed)
	}
	asked := len(works.asked)
	b.want("k6/x/a@<0.2", "k6@v1.1.0,k6/x/a@v0.1.0")
	if len(works.asked) != asked {
		t.Error("what is kept was asked for")
	}

	if _, err := b.get("k6/x/b"); k6x.KindOf(err) != k6x.NotFound || !strings.Contains(err.Error(), "k6/x/b is not in the registry") {
		t.Errorf("not found: %v", err)
	}
	never := &shop{name: "never"}
	b.Sources = append(b.Sources, never.source())
	if _, err := b.get("k6/x/b"); k6x.KindOf(err) != k6x.NotFound || len(never.asked) != 0 {
		t.Errorf("after an answer another one is asked: %v, %q", err, never.asked)
	}

	b = newBench(t, absent, broken)
	_, err := b.get("k6/x/a")
	if k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), "absent: it is not set up") || !strings.Contains(err.Error(), "broken: no answer from builds.test") {
		t.Errorf("nobody could: %v", err)
	}
	b = newBench(t, absent)
	if _, err := b.get(""); !strings.Contains(fmt.Sprint(err), "there is nobody to make it") {
		t.Errorf("nobody is there: %v", err)
	}
	full := &shop{name: "full", open: k6x.Errorf(k6x.Internal, "something went wrong").WithCause(os.ErrPermission)}
	odd := &shop{name: "odd", fails: errors.New("something odd"), close: errors.New("it does not close")}
	if _, err := newBench(t, full, odd).get(""); !strings.Contains(fmt.Sprint(err), "full: something went wrong: permission denied\n  odd: something odd") {
		t.Errorf("the cause is not printed: %v", err)
	}
	if _, err := newBench(t, odd).get(""); fmt.Sprint(err) != "something odd" {
		t.Errorf("not what the only source says: %v", err)
	}
	newBench(t, &shop{name: "open", data: data, close: errors.New("it does not close")}).want("", "k6@v1.1.0")
	wrong := &shop{name: "wrong", open: k6x.Errorf(k6x.Invalid, "the filter is malformed")}
	b = newBench(t, wrong, works)
	if _, err := b.get(""); fmt.Sprint(err) != "the filter is malformed" {
		t.Errorf("a mistake of the user's is passed over: %v", err)
	}
}

func TestAScriptGetsAK6WithJustWhatItNeeds(t *testing.T) {
	s := &shop{name: "s", data: k6(t), has: []string{"k6/x/a", "k6/x/b", "mod.example/ext"}}
	b := newBench(t, s)
	b.want("k6/x/a,mod.example/ext", "k6@v1.1.0,k6/x/a@v0.1.0,mod.example/ext@v0.1.0")
	b.want("k6/x/b", "k6@v1.1.0,k6/x/b@v0.1.0")
	b.want("k6/x/a", "k6@v1.1.0,k6/x/a@v0.1.0")
	b.want("", "k6@v1.1.0")
	b.want("mod.example/ext", "k6@v1.1.0,mod.example/ext@v0.1.0")

	asked := len(s.asked)
	b.want("k6/x/a@<0.2", "k6@v1.1.0,k6/x/a@v0.1.0")
	b.want("k6", "k6@v1.1.0")
	if len(s.asked) != asked {
		t.Errorf("what is kept was asked for: %q", s.asked[asked:])
	}
	b.Clean = true
	b.want("k6/x/a", "k6@v1.1.0,k6/x/a@v0.1.0")
	if len(s.asked) == asked {
		t.Error("nobody was asked")
	}
}

func TestAK6WithMoreIsUsedOnlyIfNoSourceAnswers(t *testing.T) {
	all := []string{"k6/x/a", "k6/x/b", "k6/x/c", "mod.example/ext"}
	s := &shop{name: "s", data: k6(t), has: all}
	b := newBench(t, s)
	var details []string
	b.Print = func(detail bool, text string) {
		if detail {
			details = append(details, text)
		}
	}
	b.want("k6/x/a,k6/x/b", "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/b@v0.1.0")
	b.want("k6/x/c,mod.example/ext", "k6@v1.1.0,k6/x/c@v0.1.0,mod.example/ext@v0.1.0")

	s.has = nil // an answer
	if _, err := b.get("k6/x/a"); k6x.KindOf(err) != k6x.NotFound {
		t.Errorf("not found: %v", err)
	}
	s.has, s.fetch = []string{"k6/x/a"}, map[string]error{"k6/x/a": k6x.Errorf(k6x.BuildFailed, "k6/x/a does not compile")}
	if _, err := b.get("k6/x/a"); k6x.KindOf(err) != k6x.BuildFailed {
		t.Errorf("does not compile: %v", err)
	}

	for name, source := range map[string]*shop{
		"fails":         {name: "s", fails: k6x.Errorf(k6x.Unavailable, "no answer from builds.test")},
		"breaks off":    {name: "s", has: all, fetch: map[string]error{"k6": errors.New("it broke off")}},
		"is not set up": {name: "s", open: errors.New("it is not set up")},
	} {
		b.Sources, details = []Source{source.source()}, nil
		b.want("k6/x/a", "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/b@v0.1.0")
		if !strings.Contains(strings.Join(details, "\n"), "has more than what is needed, and is used as no builder answers") {
			t.Errorf("%s: printed %q", name, details)
		}
		b.Clean = true
		if got, err := b.get("k6/x/a"); err == nil {
			t.Errorf("%s, and what is kept is passed over: %s", name, got)
		}
		b.Clean = false
		if got, err := b.get("k6/x/c"); err == nil {
			t.Errorf("%s, and a Go module is run for a script that it was not named for: %s", name, got)
		}
		b.want("mod.example/ext", "k6@v1.1.0,k6/x/c@v0.1.0,mod.example/ext@v0.1.0")
	}
}

func TestWhatIsNotPermittedIsNotUsed(t *testing.T) {
	s := &shop{name: "s", data: k6(t), has: []string{"k6/x/a", "k6/x/b", "k6/x/c"}}
	b := newBench(t, s)
	b.want("k6/x/a,k6/x/b", "k6@v1.1.0,k6/x/a@v0.1.0,k6/x/b@v0.1.0")
	b.want("k6/x/c", "k6@v1.1.0,k6/x/c@v0.1.0")
	b.Permit = func(list k6x.List) error {
		if _, ok := list.Lookup("k6/x/b"); ok {
			return k6x.Errorf(k6x.Forbidden, "k6/x/b is refused")
		}
		if c, ok := list.Lookup("k6/x/c"); ok && c.Version() == "v0.1.0" {
			return k6x.Errorf(k6x.Forbidden, "that k6/x/c is refused")
		}
		return nil
	}
	asked := len(s.asked)
	if _, err := b.get("k6/x/a,k6/x/b"); k6x.KindOf(err) != k6x.Forbidden || len(s.asked) > asked {
		t.Errorf("what is kept, and refused: %v, %q", err, s.asked[asked:])
	}
	s.fails = k6x.Errorf(k6x.Unavailable, "no answer from builds.test")
	for _, list := range []string{"k6/x/a", "k6/x/c"} { // the one that is kept has more that is refused; is refused itself
		if got, err := b.get(list); k6x.KindOf(err) != k6x.Unavailable {
			t.Errorf("%s: %s, %v", list, got, err)
		}
	}
}

func TestNothingButTheK6ThatWasAskedForIsKept(t *testing.T) {
	data := k6(t)
	for says, bytes := range map[string][]byte{
		"it is no Go program": []byte("#!/bin/sh\necho harm\n"),
		"what came is not":    {},
		"no Go program":       data[:len(data)/8],
	} {
		b := newBench(t, &shop{name: "s", data: bytes})
		if got, err := b.get("k6"); k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %s, %v", says, got, err)
		}
	}
	b := newBench(t, &shop{name: "s", data: data})
	b.Platform = k6x.Platform{OS: "windows", Arch: "arm64"}
	if _, err := b.get("k6"); err == nil || !strings.Contains(err.Error(), "it is for "+host.String()) {
		t.Errorf("another platform: %v", err)
	}
	b = newBench(t)
	b.Sources = []Source{{"s", func(context.Context) (Builder, error) { return &newer{shop{data: data}}, nil }}}
	if _, err := b.get("k6"); err == nil || !strings.Contains(err.Error(), "it is k6 v1.1.0") {
		t.Errorf("another version: %v", err)
	}
	own, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	b = newBench(t, &shop{name: "s", data: own})
	if _, err := b.get("k6"); err == nil || !strings.Contains(err.Error(), "there is no k6 in it") {
		t.Errorf("another program: %v", err)
	}
	if kept, err := b.Dir.Binaries(t.Context()); err != nil || len(kept) > 0 {
		t.Errorf("kept %v, %v", kept, err)
	}
}

// newer says that its k6 is newer than it is.
type newer struct{ shop }

func (n *newer) Resolve(context.Context, k6x.Platform, k6x.List) (k6x.List, error) {
	return k6x.NewList(k6x.Dependency{Name: k6x.K6, Constraint: k6x.Exactly("v1.2.0")})
}

func TestAFullDiskIsNoFaultOfASource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := binaries.New(binaries.Config{Dir: filepath.Join(file, "bin")})
	if err != nil {
		t.Fatal(err)
	}
	second := &shop{name: "second"}
	l := Launcher{Dir: dir, Platform: host, Print: func(bool, string) {}, Sources: []Source{(&shop{name: "first"}).source(), second.source()}}
	if _, _, err := l.Get(t.Context(), nil); err == nil || len(second.asked) > 0 {
		t.Errorf("%v; the second was asked for %q", err, second.asked)
	}
	full := &fs.PathError{Op: "write", Path: "bin/k6", Err: syscall.ENOSPC}
	b := newBench(t, &shop{name: "first", fetch: map[string]error{k6x.K6: full}}, second)
	_, err = b.get("k6")
	if k6x.KindOf(err) != k6x.NoSpace || len(second.asked) > 0 || !strings.Contains(k6x.Detailed(err), "write bin/k6: no space") || !strings.Contains(k6x.AsError(err).Hint, "--cache-dir") {
		t.Errorf("%v; the second was asked for %q", k6x.Detailed(err), second.asked)
	}
}

// What is not kept takes one request for the versions and one for the binary; what is kept takes none.
func TestRequestsToAService(t *testing.T) {
	const path = "/k6@v1.1.0,k6/x/a@v0.1.0"
	data := k6(t)
	sum := sha256.Sum256(data)
	var requests []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.URL.Path)
		if r.URL.Path != "/"+host.String()+path {
			http.Redirect(w, r, "/"+host.String()+path, http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum[:])+":")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	defer server.Close()
	b := newBench(t)
	b.Sources = []Source{{"service", func(context.Context) (Builder, error) {
		base, err := client.ParseBase(server.URL)
		return Service{Client: &client.Client{Base: base, Progress: func(client.Event) {}}}, err
	}}}
	for _, c := range []struct {
		list string
		want []string
	}{
		{"k6/x/a", []string{"GET /" + host.String() + "/k6,k6/x/a", "GET /" + host.String() + path}},
		{"k6/x/a", nil},
	} {
		requests = nil
		b.want(c.list, path[1:])
		if !slices.Equal(requests, c.want) {
			t.Errorf("requests %q, want %q", requests, c.want)
		}
	}
}
