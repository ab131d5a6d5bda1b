package buildcache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k6x/internal/cage"
)

// program is the directory of a main module that needs little to be compiled.
func program(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string]string{
		"go.mod":         "module example.com/program\n\ngo 1.26\n",
		"main.go":        "package main\n\nimport \"example.com/program/part\"\n\nfunc main() { println(part.Text) }\n",
		"part/part.go":   "package part\n\nconst Text = \"" + text + "\"\n",
		"part/part_x.go": "package part\n",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goBuild returns go build of a program, by way of the session; nil: by the directory alone.
func goBuild(t *testing.T, c *Cache, s *Session, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", "program.out", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOCACHE="+c.cfg.Dir, "GOFLAGS=", "GOWORK=off", "GOENV=off", "CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOOS=linux", "GOARCH=amd64")
	if s != nil {
		release, err := s.Attach(cmd, new(cage.Policy))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
	}
	return cmd
}

// mustBuild builds and returns the digest of the binary.
func mustBuild(t *testing.T, c *Cache, s *Session, dir string) [32]byte {
	t.Helper()
	if out, err := goBuild(t, c, s, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binaryOf(t, dir)
}

// binaryOf returns the digest of what was built.
func binaryOf(t *testing.T, dir string) [32]byte {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join(dir, "program.out"))
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(binary)
}

// someStd is fewer than the packages of the standard library that any program needs.
const someStd = 5

func TestGoBuildsWithWhatAnotherMachineCompiled(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the runtime")
	}
	remote := &faulty{Store: plainStore()}

	// The standard library is compiled for another program, to have machines that lack only a little.
	base := newCache(t, Config{Remote: remote})
	s := start(t, base, "other")
	mustBuild(t, base, s, program(t, "other"))
	if n := base.Stats(); n.Misses < someStd || n.RemoteHits != 0 {
		t.Errorf("%+v", n)
	}
	s.Close()
	finish(base)
	var file bytes.Buffer
	if _, err := Export(t.Context(), Files{Dir: base.cfg.Dir}, &file); err != nil {
		t.Fatal(err)
	}
	machine := func(t *testing.T, cfg Config) *Cache {
		cfg.Dir = importInto(t, file.Bytes())
		return newCache(t, cfg)
	}
	first := machine(t, Config{Remote: remote})
	s = start(t, first, "program")
	digest := mustBuild(t, first, s, program(t, "hello"))
	s.Close()
	finish(first)
	if n := first.Stats(); n.Dropped != 0 || n.WriteFailures != 0 || n.OutputsSent == 0 || n.OutputsSent >= 2*someStd || len(names(t, remote, indexDir)) != 2 {
		t.Fatalf("%+v", n)
	}

	t.Run("on an empty machine", func(t *testing.T) {
		c := newCache(t, Config{Remote: remote, ReadOnly: true})
		if got := mustBuild(t, c, start(t, c, "program"), program(t, "hello")); got != digest {
			t.Error("another binary")
		}
		if n := c.Stats(); n.Misses >= someStd || n.RemoteHits < someStd {
			t.Errorf("%+v", n)
		}
		before := files(t, c.cfg.Dir) // it is a GOCACHE for a go command without us
		if got := mustBuild(t, c, nil, program(t, "hello")); got != digest {
			t.Error("another binary")
		}
		if after := files(t, c.cfg.Dir); len(after) >= len(before)+2*someStd {
			t.Errorf("%d files became %d", len(before), len(after))
		}
	})
	t.Run("two at once", func(t *testing.T) {
		c := newCache(t, Config{Remote: remote})
		s := start(t, c, "program")
		var group sync.WaitGroup
		var dirs []string
		for range 2 {
			dir := program(t, "hello")
			cmd := goBuild(t, c, s, dir)
			dirs = append(dirs, dir)
			group.Go(func() {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		group.Wait()
		for _, dir := range dirs {
			if binaryOf(t, dir) != digest {
				t.Error("another binary")
			}
		}
	})
	for name, bad := range map[string]*faulty{
		"garbage":   {open: func([]byte) []byte { return []byte("garbage") }},
		"truncated": {open: func(body []byte) []byte { return body[:len(body)/2] }},
		"broken":    {cut: 3},
		"slow":      {delay: 5 * time.Second},
		"refusing":  {fail: func(string) error { return errors.New("connection refused") }},
	} {
		t.Run(name, func(t *testing.T) {
			bad.Store = remote.Store
			c := machine(t, Config{Remote: bad, Wait: 100 * time.Millisecond})
			if got := mustBuild(t, c, start(t, c, "program"), program(t, "hello")); got != digest {
				t.Error("another binary")
			}
			if n := c.Stats(); n.RemoteHits != 0 || n.Misses == 0 {
				t.Errorf("%+v", n)
			}
			c.die() // what is slow is not waited for
		})
	}
	t.Run("a full disk", func(t *testing.T) {
		c := newCache(t, Config{Remote: remote, ReadOnly: true, Pause: time.Nanosecond})
		full := errors.New("no space left on device")
		c.local.disk.Fault = func(string, string) error { return full }
		s := start(t, c, "program")
		if out, err := goBuild(t, c, s, program(t, "hello")).CombinedOutput(); err == nil {
			t.Error("go build can do without its cache now; say so in the documents")
		} else if !errors.Is(s.Err(), full) {
			t.Errorf("%v; of the disk is known: %v: %s", err, s.Err(), out)
		}
		s.Close()
		c = newCache(t, Config{Remote: remote, ReadOnly: true, Dir: c.cfg.Dir})
		if got := mustBuild(t, c, start(t, c, "program"), program(t, "hello")); got != digest {
			t.Error("another binary")
		}
	})
	t.Run("a go command that is killed", func(t *testing.T) {
		c := newCache(t, Config{Remote: openStore(t, "mem://")})
		s := start(t, c, "program")
		var renames atomic.Int64
		reached := make(chan struct{})
		c.local.disk.Fault = func(step, _ string) error {
			if step == "rename" && renames.Add(1) == 20 {
				close(reached)
			}
			return nil
		}
		cmd := goBuild(t, c, s, program(t, "hello"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-reached
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Error("it was not killed")
		}
		if err := c.local.each(t.Context(), func(_ ID, e Entry) error { return c.local.verify(e.Output, e.Size) }); err != nil {
			t.Error(err)
		}
		if got := mustBuild(t, c, s, program(t, "hello")); got != digest {
			t.Error("another binary")
		}
	})
}

func TestTheGoCommandIsToldOfPathsWithSpaces(t *testing.T) {
	for word, expected := range map[string]string{
		"/plain": "/plain", "/with space": "'/with space'", `/it's`: `"/it's"`, "": "''", `C:\x`: `C:\x`,
	} {
		if got, err := quote(word); err != nil || got != expected {
			t.Errorf("%s: %s, %v", word, got, err)
		}
	}
	if _, err := quote(`'"`); err == nil {
		t.Error("no error")
	}
}

func TestARelayOfNoSessionIsRefused(t *testing.T) {
	c := newCache(t, Config{})
	s := start(t, c, "")
	socket, id, err := s.enter()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Relay(t.Context(), []string{socket, "another"}, strings.NewReader(""), &out); err != nil || out.Len() != 0 {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := Relay(t.Context(), []string{socket, id}, strings.NewReader(""), &out); err != nil || !strings.Contains(out.String(), "KnownCommands") {
		t.Errorf("%q, %v", out.String(), err)
	}
	finish(c)
	if err := Relay(t.Context(), []string{socket, id}, strings.NewReader(""), &out); err == nil {
		t.Error("a relay without a cache")
	}
	if _, err := os.Stat(filepath.Dir(socket)); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
