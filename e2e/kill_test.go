//go:build linux

package e2e

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A service that is killed at any moment of a build gives the right bytes when it is
// started again, and leaves nothing behind.
func TestKilledServiceRecovers(t *testing.T) {
	forFull(t)
	rounds := 1
	if nightly {
		rounds = 70
	}
	// Each moment is seen in the world outside: a process of the go command, or a file.
	for name, reached := range map[string]func(s *k6x) bool{
		"compile": func(s *k6x) bool { return child(s, "compile") },
		"link":    func(s *k6x) bool { return child(s, "link") },
		"store":   func(s *k6x) bool { return storing(s) },
	} {
		t.Run(name, func(t *testing.T) {
			warmUp(t)
			reference := fetch(t, start(t, warmDir(t)).url+host+redisList).digest()
			for round := range rounds {
				dir := warmDir(t)
				// A directory of its own for Go's build cache makes the extension be compiled
				// again; all else of the warm one is kept.
				if name == "compile" {
					forgetExtension(t)
				}
				s := start(t, dir)
				asked := make(chan struct{})
				go func() {
					defer close(asked)
					_, _ = try(t.Context(), http.MethodGet, s.url+host+redisList)
				}()
				for !reached(s) {
					select {
					case <-asked:
						t.Fatalf("round %d: the build has ended without being seen to %s", round, name)
					default:
					}
				}
				<-time.After(rand.N(30 * time.Millisecond)) // not to hit the same instruction each time
				s.kill()
				<-asked

				s = start(t, dir)
				if got := fetch(t, s.url+host+redisList).digest(); got != reference {
					t.Errorf("round %d: %s after the kill, want %s", round, got, reference)
				}
				// The attempt that was killed has one result, unless it was that fast, and so has the one after it.
				if ended := outcomes(t, s, 1); ended["built"] != 1 || ended["aborted"] > 1 || len(ended) > 2 {
					t.Errorf("round %d: results: %v", round, ended)
				}
				s.stop(t)
				if found := leftovers(t, dir); len(found) > 0 {
					t.Errorf("round %d: left over: %v", round, found)
				}
			}
		})
	}
}

// A difference that was being made when the service was killed is made again, and nothing is left of the first.
func TestKilledWhileADifferenceIsMade(t *testing.T) {
	forFull(t)
	rounds := 1
	if nightly {
		rounds = 30
	}
	dir := warmDir(t)
	s := start(t, dir)
	plain, redis := fetch(t, s.url+host+"k6@v1.8.1"), fetch(t, s.url+host+redisList)
	s.stop(t)
	for round := range rounds {
		s = start(t, dir)
		if a := get(t, s.url+host+redisList, "Accept-Encoding: dcz", offered(plain.body)); a.header.Get("Content-Encoding") != "" {
			t.Fatalf("round %d: there is a difference: %s", round, a.header)
		}
		eventually(t, "the difference is being made", func() bool { return storing(s) })
		<-time.After(rand.N(time.Second))
		s.kill()
	}
	s = start(t, dir)
	difference(t, s.url+host+redisList, plain.body, redis.body)
	s.stop(t)
	if found := leftovers(t, dir); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
}

// forgetExtension removes from the shared build cache what was compiled last, and the list of
// what is there to link without the go command, so that the next build compiles.
func forgetExtension(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(world.warm(), "go", "kits")); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(world.warm(), "go", "gocache")
	newest := time.Time{}
	files := map[string]time.Time{}
	_ = filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "-a") {
			return nil
		}
		body, err := os.ReadFile(path)
		info, statErr := d.Info()
		if err == nil && statErr == nil && bytes.HasPrefix(body, []byte("v1 ")) {
			files[path] = info.ModTime()
			if info.ModTime().After(newest) {
				newest = info.ModTime()
			}
		}
		return nil
	})
	if len(files) == 0 {
		t.Fatalf("no entries in %s", cache)
	}
	removed := 0
	for path := range files {
		if rand.N(30) == 0 { // which is some thirty packages to compile again
			if err := os.Remove(path); err == nil {
				removed++
			}
		}
	}
	t.Logf("%d of %d entries of the build cache removed", removed, len(files))
}

// child reports whether a process below the cache directory of the service runs tool.
func child(s *k6x, tool string) bool {
	return slices.ContainsFunc(toolsRun(tool), func(args string) bool { return strings.Contains(args, s.cache) })
}

// toolsRun returns the arguments of the processes that run a tool.
func toolsRun(tool string) (args []string) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil
	}
	for _, file := range processes {
		cmdline, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		if program, rest, _ := strings.Cut(string(cmdline), "\x00"); filepath.Base(program) == tool {
			args = append(args, rest)
		}
	}
	return args
}

// storing reports whether the service is writing a binary into its store.
func storing(s *k6x) bool {
	found, err := filepath.Glob(filepath.Join(s.cache, "store", "tmp", "*", "[!l]*")) // but for the lock
	return err == nil && len(found) > 0
}
