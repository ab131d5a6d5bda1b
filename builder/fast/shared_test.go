package fast

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
	"k6x/buildcache"
	"k6x/builder"
	"k6x/builder/native"
	"k6x/internal/gomod"
)

// downloads are the modules that were asked of a proxy.
type downloads struct {
	url  string
	mu   sync.Mutex // guards list
	list []string
}

// counting returns a proxy in front of another one.
func counting(t *testing.T, proxy string) *downloads {
	t.Helper()
	to, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	d := new(downloads)
	next := httputil.NewSingleHostReverseProxy(to)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if module, ok := strings.CutSuffix(r.URL.Path, ".zip"); ok {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.list = append(d.list, module)
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	d.url = server.URL
	return d
}

// take returns the modules since the last call.
func (d *downloads) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.list
	d.list = nil
	return list
}

// machine is one with Go's caches of its own and a part in a shared build cache.
type machine struct {
	engine
	cache *buildcache.Cache
	dir   string
}

// Begin makes m a [native.BuildCache].
func (m *machine) Begin(recipe k6x.Recipe, share bool) (native.CacheSession, error) {
	return m.cache.Start(buildcache.Build{Scope: "test", Label: recipe.List().String(), Private: !share})
}

// newMachine returns a machine with caches in dir. One that writes sends all that builds find there.
func newMachine(t *testing.T, proxy, dir string, remote buildcache.Store, lifetime builder.Lifetime, writes bool) *machine {
	t.Helper()
	logged := new(log)
	logger := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m := &machine{dir: dir}
	var err error
	m.cache, err = buildcache.New(buildcache.Config{Dir: filepath.Join(dir, "gocache"), Remote: remote, ReadOnly: !writes, Fill: writes, Wait: time.Minute, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.finish)
	m.engine = engine{New(newSharing(t, proxy, dir, logger, m), Config{Lifetime: lifetime, Logger: logger}), logged}
	return m
}

// finish waits until all is learned and sent.
func (m *machine) finish() {
	m.native.Settle(context.Background())
	m.cache.Close(context.Background())
}

func openRemote(t *testing.T) buildcache.Store {
	t.Helper()
	remote, err := buildcache.OpenStore(t.Context(), "file://"+t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := remote.Close(); err != nil {
			t.Error(err)
		}
	})
	return remote
}

// change rewrites the index that m has shared, once m has sent it.
func (m *machine) change(t *testing.T, remote buildcache.Store, change func(old []byte) []byte) {
	t.Helper()
	m.finish()
	c, err := buildcache.New(buildcache.Config{Dir: t.TempDir(), Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	s, err := c.Start(buildcache.Build{Scope: "test"})
	if err != nil {
		t.Fatal(err)
	}
	name := m.indexes.of(m.recipe("v1.0.0")).sharedName()
	if err := s.Update(t.Context(), name, func(old []byte) ([]byte, error) { return change(old), nil }); err != nil {
		t.Fatal(err)
	}
}

// A machine that never built anything makes what others have compiled the packages of, in whichever combination, and downloads no module; what
// it makes is what go build makes. A package that nobody has compiled costs one module.
func TestAnEmptyMachineLinksWhatOthersCompiled(t *testing.T) {
	proxy, remote := serveGraph(t), openRemote(t)
	writer := newMachine(t, proxy, warmDir(t), remote, builder.Batch, true)
	for _, set := range [][]string{{"a@v0.1.0"}, {"b@v0.1.0"}, {"a@v0.1.0", "b@v0.1.0"}, {"d@v0.1.0"}} {
		makeBinary(t, writer.engine, writer.recipe("v1.0.0", set...), nil)
	}
	writer.finish()
	if strings.Contains(writer.log.String(), "level=WARN") {
		t.Fatal(writer.log)
	}

	counted, dir := counting(t, proxy), emptyDir(t)
	reference := newNative(t, proxy, warmDir(t), nil)
	compare := func(m *machine, set ...string) {
		recipe := m.recipe("v1.0.0", set...)
		var binary bytes.Buffer
		report, err := m.Build(t.Context(), builder.Job{Recipe: recipe}, nil, &binary)
		if err != nil {
			t.Error(err)
		}
		truth, wanted := makeBinary(t, reference, recipe, nil)
		if !bytes.Equal(binary.Bytes(), truth) || report.Lock != wanted.Lock || !slices.Equal(report.BuildList, wanted.BuildList) {
			t.Errorf("%v: another binary or lock:\n%s%s", set, report.Lock.GoMod, report.Lock.GoSum)
		}
		if log := m.log.String(); strings.Contains(log, "left to go build") || strings.Contains(log, "level=WARN") {
			t.Error(log)
		}
	}
	var group sync.WaitGroup // two processes, which share caches
	for _, set := range [][]string{{"a@v0.1.0", "b@v0.1.0"}, {"a@v0.1.0", "d@v0.1.0"}} {
		m := newMachine(t, counted.url, dir, remote, builder.OneShot, false)
		group.Go(func() { compare(m, set...) })
	}
	group.Wait()

	m := newMachine(t, counted.url, dir, remote, builder.Resident, false)
	compare(m, "b@v0.1.0") // by what the others have kept
	if list := counted.take(); len(list) > 0 {
		t.Errorf("downloaded %q", list)
	}
	if err := m.queue.enter(t.Context()); err != nil { // so that nothing is done in the background yet
		t.Fatal(err)
	}
	compare(m, "d@v0.1.0", "f@v0.1.0")
	if list := counted.take(); !slices.Equal(list, []string{"/example.com/xk6-f/@v/v0.1.0"}) {
		t.Errorf("downloaded %q", list)
	}
	m.queue.leave()
	m.native.Settle(t.Context())
	if n := m.wrong.Load(); n != 0 || strings.Contains(m.log.String(), "level=WARN") {
		t.Errorf("%d wrong\n%s", n, m.log)
	}
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "h1:" + base64.StdEncoding.EncodeToString(sum[:])
}

// smallIndex returns one that is shared, of a k6 of one package.
func smallIndex() indexData {
	const goMod = "module go.k6.io/k6\n\ngo 1.21\n"
	inner := sha256.Sum256([]byte(goMod))
	ofMod, of := hashOf(hex.EncodeToString(inner[:])+"  go.mod\n"), hashOf("files")
	key := "go.k6.io/k6/cmd go.k6.io/k6@v1.0.0"
	a := archive{"ab/ab" + strings.Repeat("0", 62) + "-d", 10}
	i := newIndexData()
	i.Proven, i.Tags = true, tags{Release: []string{"go1.1"}}
	i.Info["1.21"] = "path\tk6\nmod\tk6\t(devel)\t\nbuild\t-trimpath=true\n"
	i.Std["runtime"] = a
	i.Packages[key] = nil
	i.Archives[identity(key, nil)] = a
	i.Sums["go.k6.io/k6@v1.0.0"] = of
	i.GoSum = "go.k6.io/k6 v1.0.0 " + of + "\ngo.k6.io/k6 v1.0.0/go.mod " + ofMod + "\n"
	i.GoMods["go.k6.io/k6@v1.0.0"] = goMod
	return i
}

func textOf(t testing.TB, i indexData) []byte {
	t.Helper()
	text, err := json.Marshal(i)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestASharedIndexThatIsOddIsRefused(t *testing.T) {
	if _, err := parseShared(textOf(t, smallIndex())); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*indexData){
		"not proven":             func(i *indexData) { i.Proven = false },
		"no packages":            func(i *indexData) { i.Packages = nil },
		"a line of no go.sum":    func(i *indexData) { i.GoSum += "x\n" },
		"a hash of another kind": func(i *indexData) { i.GoSum += "example.com/a v1.0.0 h2:x\n" },
		"two hashes of a module": func(i *indexData) { i.GoSum += "go.k6.io/k6 v1.0.0 " + hashOf("x") + "\n" },
		"a hash of no go.sum":    func(i *indexData) { i.Sums["go.k6.io/k6@v1.0.0"] = hashOf("x") },
		"a hash of no module":    func(i *indexData) { i.Sums["x"] = "" },
		"a go.mod of no go.sum":  func(i *indexData) { i.GoMods["example.com/a@v1.0.0"] = "module example.com/a\n" },
		"another go.mod":         func(i *indexData) { i.GoMods["go.k6.io/k6@v1.0.0"] += "require example.com/a v1.0.0\n" },
		"a package of two lines": func(i *indexData) { i.Packages["a\npackagefile b=/c go.k6.io/k6@v1.0.0"] = nil },
		"an import of two lines": func(i *indexData) { i.Packages["a go.k6.io/k6@v1.0.0"] = []string{"../b"} },
		"a standard package":     func(i *indexData) { i.Std["a\npackagefile b=/c"] = i.Std["runtime"] },
		"an archive elsewhere":   func(i *indexData) { i.Archives["x"] = archive{"../../etc/passwd", 1} },
		"an archive in no place": func(i *indexData) { i.Archives["x"] = archive{"00/ab" + strings.Repeat("0", 62) + "-d", 1} },
		"an archive of less":     func(i *indexData) { i.Std["fmt"] = archive{i.Std["runtime"].File, -1} },
		"more packages than kept": func(i *indexData) {
			for n := range maxPackages + 1 {
				i.Packages[fmt.Sprint(n)] = nil
			}
		},
		"more bytes than kept": func(i *indexData) { i.Info["x"] = strings.Repeat("x", maxShared) },
	} {
		i := smallIndex()
		change(&i)
		if _, err := parseShared(textOf(t, i)); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// Whatever is shared, it is refused or of use, and nothing that it says leads out of the build cache.
func FuzzSharedIndex(f *testing.F) {
	f.Add(textOf(f, smallIndex()))
	i := smallIndex()
	i.Packages["go.k6.io/k6/cmd go.k6.io/k6@v1.0.0"] = []string{"go.k6.io/k6/cmd", "go.k6.io/k6/lib"}
	i.Lacks["go.k6.io/k6/lib go.k6.io/k6@v1.0.0"] = true
	f.Add(textOf(f, i))
	f.Add([]byte(`{"Proven":true,"Std":null}`))
	e := &Engine{mods: &gomod.Cache{Dir: f.TempDir()}}
	recipe := recipeOf(k6x.Settings{}, "v1.0.0")
	f.Fuzz(func(t *testing.T, text []byte) {
		i, err := parseShared(text)
		if err != nil {
			return
		}
		if _, err := parseShared(textOf(t, i)); err != nil {
			t.Fatalf("%v after writing it again", err)
		}
		i.Shared = true
		p, err := e.plan(&index{indexData: i}, recipe, nil, nil)
		if err != nil {
			return
		}
		for path, a := range p.archives {
			if a.check() != nil || strings.ContainsAny(path, "\n=") {
				t.Errorf("%q is %q", path, a.File)
			}
		}
	})
}

// What is shared and of no use costs a go build, and who may write mends it.
func TestWhatIsSharedAndOfNoUseIsLeftToGoBuild(t *testing.T) {
	if os.Getenv("K6X_TEST_FULL") == "" {
		t.Skip("SKIPPED: many builds; left to K6X_TEST_FULL=1")
	}
	proxy := serveModules(t, map[string]string{"example.com/xk6-a@v0.1.0": emptyPackage})
	for name, bad := range map[string]func(old []byte) []byte{
		"garbage": func([]byte) []byte { return []byte("garbage") },
		"huge":    func(old []byte) []byte { return append(old, bytes.Repeat([]byte(" "), maxShared)...) },
		"packages of nobody": func(old []byte) []byte {
			i, err := parseShared(old)
			if err != nil {
				t.Fatal(err)
			}
			for id := range i.Archives {
				i.Archives[id] = archive{"ab/ab" + strings.Repeat("0", 62) + "-d", 10}
			}
			return textOf(t, i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			remote := openRemote(t)
			writer := newMachine(t, proxy, warmDir(t), remote, builder.Batch, true)
			truth := writer.must(t, false, "a@v0.1.0")
			writer.change(t, remote, bad)

			m := newMachine(t, proxy, emptyDir(t), remote, builder.Batch, true)
			if binary := m.must(t, false, "a@v0.1.0"); !bytes.Equal(binary, truth) {
				t.Error("another binary")
			}
			m.finish()
			if binary := newMachine(t, proxy, emptyDir(t), remote, builder.Batch, false).must(t, true, "a@v0.1.0"); !bytes.Equal(binary, truth) {
				t.Error("another binary of the next machine")
			}
		})
	}
}

// Hashes of modules that those who write to the shared build cache made up are used until the go command has found others, and are never taken
// for what it has found.
func TestHashesThatWereMadeUpAreFoundOut(t *testing.T) {
	proxy, remote := serveModules(t, map[string]string{"example.com/xk6-a@v0.1.0": emptyPackage, "example.com/xk6-b@v0.1.0": emptyPackage}), openRemote(t)
	writer := newMachine(t, proxy, warmDir(t), remote, builder.Batch, true)
	truth := writer.must(t, false, "a@v0.1.0")
	sum := writer.indexes.of(writer.recipe("v1.0.0")).Sums["go.k6.io/k6@v1.0.0"]
	writer.change(t, remote, func(old []byte) []byte { return bytes.ReplaceAll(old, []byte(sum), []byte(hashOf("made up"))) })

	dir := emptyDir(t)
	m := newMachine(t, proxy, dir, remote, builder.Batch, false)
	if binary := m.must(t, true, "a@v0.1.0"); bytes.Equal(binary, truth) {
		t.Error("nothing was made up")
	}
	m.must(t, false, "b@v0.1.0") // the go command would fail if it began with them
	if !strings.Contains(m.log.String(), "level=ERROR") {
		t.Errorf("nobody is told: %s", m.log)
	}
	for range 2 {
		if binary, _, err := m.ask(t, "a@v0.1.0"); !bytes.Equal(binary, truth) || err != nil {
			t.Errorf("another binary, %v", err)
		}
		m = newMachine(t, proxy, dir, remote, builder.Batch, false)
	}
}
