package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/event"
)

// entry is one of a tar.
type entry struct {
	tar.Header
	text string
}

func tarOf(entries ...entry) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.text))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			panic(err)
		}
		_, _ = io.WriteString(w, e.text)
	}
	_ = w.Flush()
	return append(buf.Bytes(), make([]byte, 1024)...)
}

func file(name, text string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, text}
}

func TestUnpackTakesWhatABuildLeaves(t *testing.T) {
	dir := t.TempDir()
	folder := entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "work/"}}
	text, err := unpack(bytes.NewReader(tarOf(folder, file("work/go.mod", "module k6"), file("work/"+gobuild.OutputName, "binary"), file("work/graph.txt", "a"))), "work", dir)
	if err != nil || text["go.mod"] != "module k6" || text["graph.txt"] != "a" || len(text) != 2 {
		t.Errorf("got %v, %v", text, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, gobuild.OutputName)); err != nil || string(data) != "binary" {
		t.Errorf("the binary is %q, %v", data, err)
	}
}

func TestUnpackRefusesWhatNoBuildLeaves(t *testing.T) {
	good := tarOf(file("work/go.mod", "module k6"), file("work/"+gobuild.OutputName, strings.Repeat("x", 4096)))
	many := make([]entry, maxFiles+1)
	for i := range many {
		many[i] = entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "work/"}}
	}
	for name, data := range map[string][]byte{
		"a way out":             tarOf(file("work/../../evil", "x")),
		"a way out of its own":  tarOf(file("../evil", "x")),
		"an absolute name":      tarOf(file("/etc/passwd", "x")),
		"another directory":     tarOf(file("other/go.mod", "x")),
		"a file of another":     tarOf(file("work/sub/go.mod", "x")),
		"an unexpected file":    tarOf(file("work/evil", "x")),
		"a link":                tarOf(entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: "work/" + gobuild.OutputName, Linkname: "/etc/passwd"}}),
		"a hard link":           tarOf(entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: "work/go.mod", Linkname: "/etc/passwd"}}),
		"a device":              tarOf(entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "work/go.mod"}}),
		"a binary twice":        tarOf(file("work/"+gobuild.OutputName, "a"), file("work/"+gobuild.OutputName, "b")),
		"a text twice":          tarOf(file("work/go.mod", "a"), file("work/go.mod", "b")),
		"a binary too large":    tarOf(entry{tar.Header{Typeflag: tar.TypeReg, Name: "work/" + gobuild.OutputName, Size: maxBinary + 1}, ""}),
		"a text too large":      tarOf(entry{tar.Header{Typeflag: tar.TypeReg, Name: "work/go.sum", Size: maxText + 1}, ""}),
		"half a binary":         good[:len(good)-4096],
		"half a header":         good[:1100],
		"no tar":                []byte(strings.Repeat("no tar ", 200)),
		"too many entries":      tarOf(many...),
		"a directory elsewhere": tarOf(entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "../evil/"}}),
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "a", "b")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := unpack(bytes.NewReader(data), "work", dir); k6x.KindOf(err) != k6x.Unavailable || err == nil {
				t.Errorf("got %v", err)
			}
			_ = filepath.WalkDir(top, func(path string, _ os.DirEntry, _ error) error {
				if base := filepath.Base(path); base == "evil" || base == "passwd" {
					t.Errorf("%s was written", path)
				}
				return nil
			})
		})
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(file("work/go.mod", "module k6"), file("work/"+gobuild.OutputName, "x")))
	f.Add(tarOf(file("../evil", "x")))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := unpack(bytes.NewReader(data), "work", dir)
		if err != nil && text != nil {
			t.Error("files and an error")
		}
	})
}

// fakeDaemon answers a ping, has no containers and no images, and answers all else as
// handle does.
func fakeDaemon(t *testing.T, handle http.HandlerFunc) *Engine {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Api-Version", "1.41")
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			fmt.Fprint(w, "[]")
		default:
			handle(w, r)
		}
	}))
	t.Cleanup(server.Close)
	e, err := New(t.Context(), Config{Host: "tcp://" + server.Listener.Addr().String(), Image: "example.com/go:1.26"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestPullFailuresSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		kind    k6x.Kind
		message string
	}{
		"no such tag":   {404, `{"message":"manifest for example.com/go:1.26 not found: manifest unknown"}`, k6x.Unavailable, "there is no image example.com/go:1.26: manifest for"},
		"a login":       {404, `{"message":"pull access denied for go, repository does not exist or may require 'docker login'"}`, k6x.Unavailable, "does not exist, or needs a login"},
		"unauthorized":  {401, `{"message":"authentication required"}`, k6x.Unavailable, "needs a login"},
		"no network":    {500, `{"message":"Get \"https://example.com/v2/\": dial tcp: lookup example.com: no such host"}`, k6x.Unavailable, "cannot be downloaded now: Get"},
		"a bad name":    {400, `{"message":"invalid reference format"}`, k6x.Invalid, "no name of an image"},
		"a full disk":   {200, `{"errorDetail":{"message":"write /blob: no space left on device"}}`, k6x.NoSpace, "no room left on the disk of the container engine"},
		"late no image": {200, `{"status":"Pulling"}` + "\n" + `{"errorDetail":{"message":"initializing source: reading manifest: manifest unknown"}}`, k6x.Unavailable, "there is no image"},
		"late login":    {200, `{"errorDetail":{"message":"unauthorized: access to the requested resource"}}`, k6x.Unavailable, "needs a login"},
		"half a line":   {200, `{"status":"Pul`, k6x.Unavailable, "cannot be downloaded now"},
		"not there":     {200, `{"status":"done"}`, k6x.Unavailable, "failed while looking for the image"},
	} {
		t.Run(name, func(t *testing.T) {
			e := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/images/create") {
					w.WriteHeader(c.status)
					fmt.Fprint(w, c.body)
					return
				}
				http.Error(w, `{"message":"No such image"}`, http.StatusNotFound)
			})
			_, err := e.Settings(t.Context(), nil)
			if k6x.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v: %v\nwant %v: %s", k6x.KindOf(err), err, c.kind, c.message)
			}
		})
	}
}

func TestPullTellsHowFarItIs(t *testing.T) {
	pulled := false
	e := fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/images/create"):
			pulled = true
			fmt.Fprint(w, `{"status":"Pulling from go","id":"1.26"}
{"status":"Downloading","id":"a","progressDetail":{"current":10,"total":100}}
{"status":"Downloading","id":"b","progressDetail":{"current":5,"total":50}}
{"status":"Downloading","id":"a","progressDetail":{"current":100,"total":100}}
{"status":"Extracting","id":"a","progressDetail":{"current":1,"total":100}}
`)
		case strings.HasSuffix(r.URL.Path, "/images/example.com/go:1.26/json") && pulled:
			fmt.Fprint(w, `{"Id":"sha256:1"}`)
		default:
			http.Error(w, `{"message":"nothing here"}`, http.StatusNotFound)
		}
	})
	var last event.Event
	if _, err := e.Settings(t.Context(), func(p event.Event) { last = p }); err == nil || !strings.Contains(err.Error(), "making a container") {
		t.Errorf("got %v", err)
	}
	if want := (event.Event{Time: last.Time, Type: event.Progress, Step: event.Pulling, Item: "example.com/go:1.26", Done: 105, Total: 150}); !reflect.DeepEqual(last, want) {
		t.Errorf("the last was %+v, want %+v", last, want)
	}
}

func TestCancelEndsACallThatHangs(t *testing.T) {
	asked := make(chan struct{}, 1)
	e := fakeDaemon(t, func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := e.Settings(ctx, nil); k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestNewSaysSoonThatThereIsNoDaemon(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	windows := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Ostype", "windows") }))
	defer windows.Close()
	for name, c := range map[string]struct {
		host    string
		env     string
		kind    k6x.Kind
		message string
	}{
		"no socket":          {"unix:///nowhere/docker.sock", "", k6x.Unavailable, "no container engine answers at unix:///nowhere/docker.sock"},
		"no socket, by name": {"", "unix:///nowhere/other.sock", k6x.Unavailable, "other.sock"},
		"nobody listens":     {"tcp://127.0.0.1:1", "", k6x.Unavailable, "no container engine answers at tcp://127.0.0.1:1"},
		"it hangs":           {"tcp://" + silent.Listener.Addr().String(), "", k6x.Unavailable, "does not answer"},
		"Windows containers": {"tcp://" + windows.Listener.Addr().String(), "", k6x.Unavailable, "runs Windows containers"},
		"no scheme":          {"localhost:2375", "", k6x.Invalid, "is no address"},
		"another scheme":     {"gopher://localhost", "", k6x.Invalid, "is no address"},
		"no host":            {"tcp://", "", k6x.Invalid, "is no address"},
		"an odd ssh":         {"ssh://user:secret@host", "", k6x.Invalid, "is no address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DOCKER_HOST", c.env)
			_, err := New(t.Context(), Config{Host: c.host})
			if k6x.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.message) || k6x.AsError(err).Hint == "" {
				t.Errorf("got %v: %v", k6x.KindOf(err), err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("it tells the password: %v", err)
			}
		})
	}
}

func TestUsualSocketsOfTheUserAreLookedFor(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	if hosts := strings.Join(usualHosts(), " "); !strings.Contains(hosts, "unix:///run/user/7/podman/podman.sock") {
		t.Errorf("looked for %s", hosts)
	}
}

func TestNewRefusesVariablesThatAreSetForEachBuild(t *testing.T) {
	for _, kv := range []string{"GOFLAGS=-race", "GOCACHE=/tmp", "CGO_ENABLED=1", "NOVALUE", "=x"} {
		if _, err := New(t.Context(), Config{Host: "unix:///nowhere", Env: []string{kv}}); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%s: %v", kv, err)
		}
	}
}

func TestEnvironmentHasNothingOfTheImagesThatDecidesBytes(t *testing.T) {
	env := goEnv([]string{"PATH=/bin", "GOAMD64=v3", "CGO_CFLAGS=-O3", "GOLANG_VERSION=1", "GOROOT=/go"}, []string{"GOPROXY=off", "GOTOOLCHAIN=go1.26.8"})
	for _, want := range []string{"GOAMD64=", "CGO_CFLAGS=", "GOTOOLCHAIN=go1.26.8", "GOPROXY=off", "GOENV=off"} {
		if !strings.Contains("\n"+strings.Join(env, "\n")+"\n", "\n"+want+"\n") {
			t.Errorf("%s is missing in %v", want, env)
		}
	}
	for _, kv := range env {
		if strings.HasPrefix(kv, "PATH=") || strings.HasPrefix(kv, "GOROOT=") {
			t.Errorf("%s is set", kv)
		}
	}
}

func TestBuildOfADamagedLockOrAnotherLayoutAsksNoDaemon(t *testing.T) {
	e := fakeDaemon(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was asked", r.URL) })
	recipe := k6x.NewRecipe(k6x.Platform{OS: "linux", Arch: "amd64"}, []k6x.Module{{Path: "go.k6.io/k6", Version: "v1.0.0"}}, false,
		gobuild.Settings("go1.26.8", nil))
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe, Lock: &k6x.Lock{GoMod: "module k6\nreplace a => b\n"}}, nil, io.Discard); k6x.KindOf(err) != k6x.Internal {
		t.Errorf("a damaged lock: %v", err)
	}
	recipe.Layout++
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard); k6x.KindOf(err) != k6x.Unavailable {
		t.Errorf("another layout: %v", err)
	}
	recipe.Layout--
	recipe.Cgo = true
	if _, err := e.Build(t.Context(), builder.Job{Recipe: recipe}, nil, io.Discard); k6x.KindOf(err) != k6x.Forbidden {
		t.Errorf("cgo: %v", err)
	}
}

func TestDaemonErrorsAreCutToALine(t *testing.T) {
	long := "Error response from daemon: \x1b[31m" + strings.Repeat("é", 1000) + "\nsecond"
	got := firstLine(long)
	if strings.ContainsAny(got, "\x1b\n") || len(got) > 320 || strings.Contains(got, "daemon") {
		t.Errorf("%q", got)
	}
	e := fakeDaemon(t, func(http.ResponseWriter, *http.Request) {})
	if err := e.daemonError(t.Context(), "x", errors.New("no space left on device")); k6x.KindOf(err) != k6x.NoSpace {
		t.Errorf("got %v", err)
	}
}
