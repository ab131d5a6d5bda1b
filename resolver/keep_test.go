package resolver

import (
	"context"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/module"

	"k6x"
	"k6x/internal/gomod"
)

// TestOneRequestInFlight has 200 clients ask for one module while the proxy does not
// answer yet; the first of them, and half of the others, go away.
func TestOneRequestInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newModuleProxy(world)
		p.gate = make(chan struct{})
		r := resolverOf(t, p, worldRegistry, nil)
		gone, leave := context.WithCancel(t.Context())
		var answered, left atomic.Int32
		ask := func(ctx context.Context) {
			res, err := r.Resolve(ctx, parse(t, "k6@^1,k6/x/new"))
			switch {
			case k6x.KindOf(err) == k6x.Canceled:
				left.Add(1)
			case err == nil && res.List().String() == "k6@v1.8.0,k6/x/new@v0.3.0":
				answered.Add(1)
			default:
				t.Errorf("%v, %v", res, err)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { ask(gone) })
		synctest.Wait()
		for i := range 199 {
			ctx := t.Context()
			if i%2 == 0 {
				ctx = gone
			}
			wg.Go(func() { ask(ctx) })
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(p.gate)
		wg.Wait()
		if answered.Load() != 99 || left.Load() != 101 {
			t.Errorf("%d answered, %d left", answered.Load(), left.Load())
		}
		for path, n := range p.asked {
			if n != 1 {
				t.Errorf("asked %d times for %s", n, path)
			}
		}
	})
}

func TestVersionListsHaveALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const list = "/example.com/xk6-new/@v/list"
		p := newModuleProxy(world)
		log, lines := logTo()
		dir := t.TempDir()
		change := func(cfg *Config) { cfg.Logger, cfg.Dir = log, dir }
		r := resolverOf(t, p, worldRegistry, change)
		ask := func(want string, asked int) {
			t.Helper()
			if got := answer(t, r, "k6@^1,k6/x/new"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			synctest.Wait() // what goes on while nobody waits
			if n := p.count(list); n != asked {
				t.Errorf("asked %d times, want %d", n, asked)
			}
		}
		const good = "k6@v1.8.0,k6/x/new@v0.3.0"
		ask(good, 1)
		time.Sleep(4 * time.Minute) // the bubble's time
		ask(good, 1)
		r = resolverOf(t, p, worldRegistry, change) // a restart finds it on disk
		ask(good, 1)
		time.Sleep(2 * time.Minute)
		ask(good, 2)

		p.fail("", 503)
		time.Sleep(6 * time.Minute)
		ask(good, 3) // an old list is better than none
		ask(good, 3) // and not asked for at once again
		if n := lines.count("old list stays in use"); n == 0 {
			t.Error("the log says nothing")
		}
		r = resolverOf(t, p, worldRegistry, change)
		ask(good, 4)
		p.fail("", 0)
		time.Sleep(time.Minute)
		ask(good, 5)
	})
}

func TestAnOldListDoesWhileItIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newModuleProxy(maps.Clone(world))
		r := resolverOf(t, p, worldRegistry, nil)
		ask := func(list, version string) {
			t.Helper()
			if got, want := answer(t, r, "k6@^1,"+list), "k6@v1.8.0,k6/x/new@"+version; got != want {
				t.Errorf("%s: got %s, want %s", list, got, want)
			}
		}
		released := func(version string) {
			synctest.Wait() // nobody reads the map now
			p.mods["example.com/xk6-new@"+version] = world["example.com/xk6-new@v0.3.0"]
		}
		ask("k6/x/new", "v0.3.0")
		released("v0.4.0")
		time.Sleep(6 * time.Minute) // the bubble's time
		p.gate = make(chan struct{})
		ask("k6/x/new", "v0.3.0") // although nobody answers yet
		ask("k6/x/new", "v0.3.0")
		close(p.gate)
		synctest.Wait()
		ask("k6/x/new", "v0.4.0")
		if n := p.count("/example.com/xk6-new/@v/list"); n != 2 {
			t.Errorf("asked %d times, want 2", n)
		}

		released("v0.5.0")
		time.Sleep(6 * time.Minute)
		ask("k6/x/new@v0.5.0", "v0.5.0") // a version that no old list has
		synctest.Wait()
		released("v0.6.0")
		time.Sleep(6 * time.Minute)
		ask("k6/x/new@>=0.6", "v0.6.0")
		released("v0.7.0")
		time.Sleep(2 * time.Hour)
		ask("k6/x/new", "v0.7.0") // too old to do
	})
}

// What was known to be missing stays so while nobody can be asked, also after a restart.
func TestAbsenceIsKnownWhileTheProxyIsDown(t *testing.T) {
	for _, status := range []int{404, 403} {
		synctest.Test(t, func(t *testing.T) {
			p := newModuleProxy(world)
			p.fail("/go.k6.io/k6/v2/@v/list", status)
			dir := t.TempDir()
			change := func(cfg *Config) { cfg.Dir = dir }
			r := resolverOf(t, p, worldRegistry, change)
			const good = "k6@v1.8.0,k6/x/new@v0.3.0"
			if got := answer(t, r, "k6/x/new"); got != good {
				t.Fatal(got)
			}
			p.fail("", 503)
			time.Sleep(time.Hour) // the bubble's time
			for range 2 {
				if got := answer(t, r, "k6/x/new"); got != good {
					t.Errorf("%d: %s", status, got)
				}
				r = resolverOf(t, p, worldRegistry, change)
			}
			p.fail("", 0)
			p.fail("/go.k6.io/k6/v2/@v/list", 0)
			time.Sleep(time.Hour) // the bubble's time
			if got := answer(t, r, "k6@2"); got == "" || got[:2] != "k6" {
				t.Errorf("it is there now: %s", got)
			}
		})
	}
}

// What a request finds, others have at once, and "no such version" is no answer before the proxy was asked again.
func TestAVersionThatWasJustPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newModuleProxy(maps.Clone(world))
		r := resolverOf(t, p, worldRegistry, nil)
		publish := func(version string) {
			time.Sleep(time.Millisecond) // the bubble's time
			synctest.Wait()              // nothing reads the map now
			p.mods["example.com/xk6-new@"+version] = world["example.com/xk6-new@v0.3.0"]
		}
		want := func(list, want string) {
			t.Helper()
			if got := answer(t, r, list); got != want {
				t.Errorf("%s: got %s, want %s", list, got, want)
			}
		}
		const none = "not_found: there is no k6/x/new v0.4.0\n(There are v0.3.0, v0.2.0, v0.1.0.)"
		want("k6@^1,k6/x/new", "k6@v1.8.0,k6/x/new@v0.3.0")
		want("k6@^1,k6/x/new@v0.4.0", none)
		publish("v0.4.0")
		want("k6@^1,k6/x/new@v0.4.0", "k6@v1.8.0,k6/x/new@v0.4.0") // a moment later
		want("k6@^1,k6/x/new", "k6@v1.8.0,k6/x/new@v0.4.0")
		publish("v0.5.0")
		want("k6@^1,k6/x/new@v0.5.0", "k6@v1.8.0,k6/x/new@v0.5.0")
		publish("v0.6.0")
		p.hide("/example.com/xk6-new/@v/list", "v0.6.0") // some proxies are slow with their lists
		want("k6@^1,k6/x/new@v0.6.0", "k6@v1.8.0,k6/x/new@v0.6.0")
		want("k6@^1,k6/x/new", "k6@v1.8.0,k6/x/new@v0.6.0")
		time.Sleep(10 * time.Minute) // the bubble's time
		want("k6@^1,k6/x/new", "k6@v1.8.0,k6/x/new@v0.6.0")
		synctest.Wait()
		want("k6@^1,k6/x/new", "k6@v1.8.0,k6/x/new@v0.6.0")
		time.Sleep(2 * time.Hour)
		want("k6@^1,k6/x/new", "k6@v1.8.0,k6/x/new@v0.5.0") // it may have been withdrawn
		want("k6@^1,k6/x/new@>=0.7", "not_found: no version of k6/x/new satisfies >=0.7\n(There are v0.5.0, v0.4.0, v0.3.0, v0.2.0, v0.1.0.)")
		publish("v0.7.0")
		want("k6@^1,k6/x/new@>=0.7", "k6@v1.8.0,k6/x/new@v0.7.0")
	})
}

// A client that asks for what is not there, again and again, has the proxy asked less and less often.
func TestAskingAgainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newModuleProxy(world)
		r := resolverOf(t, p, worldRegistry, nil)
		for range 600 {
			answer(t, r, "k6@^1,k6/x/new@v0.9.0")
			answer(t, r, "k6@^1,k6/x/new@>=7")
			time.Sleep(500 * time.Millisecond) // the bubble's time
		}
		for path, most := range map[string]int{"/example.com/xk6-new/@v/list": 30, "/example.com/xk6-new/@v/v0.9.0.mod": 60} {
			if n := p.count(path); n < 10 || n > most {
				t.Errorf("asked %d times for %s in five minutes", n, path)
			}
		}
		before := p.count("/example.com/xk6-new/@v/list")
		p.fail("/example.com/xk6-new/@v/list", 503)
		for range 100 {
			answer(t, r, "k6@^1,k6/x/new@>=7")
			time.Sleep(100 * time.Millisecond)
		}
		if n := p.count("/example.com/xk6-new/@v/list") - before; n > 10 {
			t.Errorf("a proxy that is down is asked %d times in ten seconds", n)
		}
	})
}

// Of modules that no registry has there is no end: that they are not there is kept in memory only.
func TestNoFilesOfModulesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	r := resolverOf(t, newModuleProxy(world), worldRegistry, func(cfg *Config) { cfg.Dir, cfg.AllowModules = dir, "example.com/*" })
	files := func() int {
		entries, _ := os.ReadDir(filepath.Join(dir, "versions"))
		return len(entries)
	}
	answer(t, r, "k6@^1,k6/x/gone")
	known := files()
	for _, name := range []string{"a", "b", "c"} {
		answer(t, r, "k6@^1,example.com/"+name)
	}
	if n := files(); n != known || known == 0 {
		t.Errorf("%d files, then %d", known, n)
	}
	for list, registered := range map[string]bool{"k6,k6/x/new": true, "example.com/xk6-new": true, "k6/x/unknown": true, "k6/x/new,example.com/a": false} {
		if r.Registered(parse(t, list)) != registered {
			t.Errorf("%s is registered: %t", list, !registered)
		}
	}
}

func TestEmptyListIsKnownWhileTheProxyIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		client := clientOf(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if down.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		r := resolverOf(t, nil, worldRegistry, func(cfg *Config) { cfg.Client = client })
		for range 2 {
			if versions, err := r.mods.versions.get(t.Context(), "example.com/a"); len(versions) != 0 || err != nil {
				t.Errorf("%v, %v", versions, err)
			}
			down.Store(true)
			time.Sleep(time.Hour) // the bubble's time
		}
	})
}

func TestGoModFilesAreKeptForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newModuleProxy(world)
		dir := t.TempDir()
		change := func(cfg *Config) { cfg.Dir = dir }
		const list, want = "k6@v1.8.0,k6/x/new@v0.3.0", "k6@v1.8.0,k6/x/new@v0.3.0"
		if got := answer(t, resolverOf(t, p, worldRegistry, change), list); got != want {
			t.Error(got)
		}
		p.fail("", 503)
		time.Sleep(1000 * time.Hour) // the bubble's time
		if got := answer(t, resolverOf(t, p, worldRegistry, change), list); got != want {
			t.Errorf("not from disk: %s", got)
		}
		p.fail("", 0)
		file := filepath.Join(dir, "mod", "example.com", "xk6-new", "@v", "v0.3.0.mod")
		if err := os.WriteFile(file, []byte("module example.com/evil\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := answer(t, resolverOf(t, p, worldRegistry, change), list); got != want {
			t.Errorf("a broken file on disk: %s", got)
		}
		if n := p.count("/example.com/xk6-new/@v/v0.3.0.mod"); n != 2 {
			t.Errorf("asked %d times, want again after the file was broken", n)
		}
	})
}

func TestDefiniteFailuresAreRememberedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newModuleProxy(world)
		r := resolverOf(t, p, worldRegistry, nil)
		mod := module.Version{Path: "example.com/xk6-new", Version: "v0.9.0"}
		const path = "/example.com/xk6-new/@v/v0.9.0.mod"
		for i, wait := range []time.Duration{0, 30 * time.Second, 31 * time.Second} {
			time.Sleep(wait) // the bubble's time
			if _, err := r.mods.files.get(t.Context(), mod); k6x.KindOf(err) != k6x.NotFound || !gomod.Definite(err) {
				t.Errorf("%v", err)
			}
			if n, want := p.count(path), 1+i/2; n != want {
				t.Errorf("after %s: asked %d times, want %d", wait, n, want)
			}
		}
		p.fail("/example.com/xk6-new/@v/v0.8.0.mod", 500)
		mod.Version = "v0.8.0"
		for range 2 {
			if _, err := r.mods.files.get(t.Context(), mod); k6x.KindOf(err) != k6x.Unavailable || gomod.Definite(err) {
				t.Errorf("%v", err)
			}
		}
		if n := p.count("/example.com/xk6-new/@v/v0.8.0.mod"); n != 2 {
			t.Errorf("a passing failure is remembered: asked %d times", n)
		}
	})
}
