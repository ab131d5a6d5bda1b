package native

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/internal/cage"
	"k6x/internal/testmod"
)

// hostile is the module of an extension, by the names of its files but go.mod.
type hostile map[string]string

const hostilePath = "example.com/xk6-hostile"

// serveHostile serves one version, v0.1.0, of a hostile module beside the stand-ins, and returns the GOPROXY.
func serveHostile(t *testing.T, goMod string, write func(*zip.Writer) error) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "module.zip")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(out)
	if err := errors.Join(write(archive), archive.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	const at = "GET /" + hostilePath + "/@v/"
	mux.HandleFunc(at+"v0.1.0.mod", text(goMod))
	mux.HandleFunc(at+"v0.1.0.info", text(`{"Version":"v0.1.0"}`))
	mux.HandleFunc(at+"v0.1.0.zip", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "," + testmod.Serve(t, "../../testdata/standin")
}

// serve serves the files.
func (h hostile) serve(t *testing.T) string {
	t.Helper()
	goMod := "module " + hostilePath + "\n\ngo 1.21\n"
	if text, ok := h["go.mod"]; ok {
		goMod = text
	}
	return serveHostile(t, goMod, func(archive *zip.Writer) error {
		for name, text := range h {
			if name == "go.mod" {
				continue
			}
			if err := add(archive, name, strings.NewReader(text)); err != nil {
				return err
			}
		}
		return add(archive, "go.mod", strings.NewReader(goMod))
	})
}

func add(archive *zip.Writer, name string, text io.Reader) error {
	w, err := archive.CreateHeader(&zip.FileHeader{Name: hostilePath + "@v0.1.0/" + name, Method: zip.Store}) // to compress thousands of files takes most of the time
	if err != nil {
		return err
	}
	_, err = io.Copy(w, text)
	return err
}

// hostileEngine returns an engine that can have the module and knows nothing of it yet.
func hostileEngine(t *testing.T, proxy string, cfg Config) *Engine {
	t.Helper()
	cfg.Tool = standinTool(t, proxy)
	if cfg.Dir == "" {
		cfg.Dir = emptyDir(t)
	}
	share(t, cfg.Dir)
	return newEngine(t, cfg)
}

// raw returns what the go command prints, before it is cleaned.
func raw(t *testing.T, e *Engine) string {
	t.Helper()
	ws, err := e.newWorkspace(e.recipe("v1.0.0", "hostile@v0.1.0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	if done := e.fetch(t.Context(), ws); done.err != nil {
		t.Fatalf("%v: %s", done.err, done.text)
	}
	return e.goBuild(t.Context(), ws).text
}

// What a module includes of the host's files is read by the assembler outside the cage, and not inside.
func TestModulesReadNoFileOfTheHost(t *testing.T) {
	const words = "thewordsofatoken"
	secret := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(secret, []byte(words+" more\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	inModule := func(e *Engine) string {
		return filepath.Join(e.Dirs.ModCache, filepath.FromSlash(hostilePath)+"@v0.1.0")
	}
	off := new(cage.Cage)
	for name, files := range map[string]func(dir string) hostile{
		"absolute": func(string) hostile { return hostile{"x.s": "#include \"" + secret + "\"\n"} },
		"relative": func(dir string) hostile {
			rel, err := filepath.Rel(dir, secret)
			if err != nil {
				t.Fatal(err)
			}
			return hostile{"x.s": "#include \"" + rel + "\"\n"}
		},
		"by a header": func(string) hostile {
			return hostile{"x.s": "#include \"x.h\"\n", "x.h": "#include \"" + secret + "\"\n"}
		},
		"by a link of the process": func(string) hostile { return hostile{"x.s": "#include \"/proc/self/root" + secret + "\"\n"} },
	} {
		t.Run(name, func(t *testing.T) {
			// Both engines have the same directory, as that is part of a relative path.
			first := hostileEngine(t, hostile{}.serve(t), Config{})
			module := files(inModule(first))
			module["x.go"] = "package hostile\n\nfunc f()\n"
			first.Tool = standinTool(t, module.serve(t))
			if text := raw(t, first); strings.Contains(text, words) || !strings.Contains(text, "#include: open ") {
				t.Errorf("inside: %s", text)
			}
			_, err := first.Build(t.Context(), builder.Job{Recipe: first.recipe("v1.0.0", "hostile@v0.1.0")}, nil, io.Discard)
			if e := k6x.AsError(err); err == nil || strings.Contains(e.Message+e.Hint+e.Output, words) {
				t.Errorf("a client reads %v\n%s", err, k6x.AsError(err).Output)
			}
			first.Cage = off
			if text := raw(t, first); !strings.Contains(text, words) {
				t.Errorf("outside: %s", text)
			}
		})
	}
}

// What is too large to compile is refused within the limits, in words, and what the words say is the limit.
func TestModulesTakeNoMoreThanTheLimits(t *testing.T) {
	var constants strings.Builder
	constants.WriteString("package hostile\n\nconst c0 = \"" + strings.Repeat("x", 60) + "\"\n")
	for i := range 8 {
		fmt.Fprintf(&constants, "const c%d = %s\n", i+1, strings.Repeat(fmt.Sprintf("c%d + ", i), 9)+fmt.Sprintf("c%d", i))
	}
	constants.WriteString("\nvar V = c8\n")
	for _, test := range []struct {
		name   string
		limits cage.Limits
		source string
		want   []string
	}{
		{"constants", cage.Limits{Memory: 700 << 20}, constants.String(), []string{"k6/x/hostile", "needs more than 700 MiB of memory to compile"}},
		{"printing", cage.Limits{Output: 1}, "package hostile\n\nvar v int = \"\"\n", []string{"needs more than 1 B for what the compiler says"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := cage.New(cage.Config{Mode: cage.Auto, Limits: test.limits})
			if err != nil {
				t.Fatal(err)
			}
			e := hostileEngine(t, hostile{"x.go": test.source}.serve(t), Config{Cage: c})
			_, err = e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hostile@v0.1.0")}, nil, io.Discard)
			if k6x.KindOf(err) != k6x.BuildFailed {
				t.Fatalf("%v: %v", k6x.KindOf(err), err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// These are refused by the go command or the compiler, and neither harm the machine nor hold it up.
func TestModulesThatGoRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		files hostile
		kind  k6x.Kind
		says  string
	}{
		"a replacement by a path": {hostile{
			"go.mod": "module " + hostilePath + "\n\ngo 1.21\n\nrequire example.com/greeting v1.0.0\n\nreplace example.com/greeting => /etc\n",
			"x.go":   "package hostile\n\nimport _ \"example.com/greeting/nothing\"\n",
		}, k6x.BuildFailed, "example.com/greeting"},
		"a toolchain": {hostile{
			"go.mod": "module " + hostilePath + "\n\ngo 1.99\n\ntoolchain go1.99.0\n", "x.go": "package hostile\n",
		}, k6x.Conflict, "needs Go 1.99"},
		"endless generics": {hostile{"x.go": "package hostile\n\ntype T[P any] struct{ f *T[T[P]] }\n\nvar V T[int]\n"}, k6x.BuildFailed, "k6/x/hostile"},
		"a file of the host that is embedded": {hostile{
			"x.go": "package hostile\n\nimport _ \"embed\"\n\n//go:embed /etc/passwd\nvar V string\n",
		}, k6x.BuildFailed, "invalid pattern"},
		"a file above that is embedded": {hostile{
			"x.go": "package hostile\n\nimport _ \"embed\"\n\n//go:embed ../../../go.mod\nvar V string\n",
		}, k6x.BuildFailed, "invalid pattern"},
		"flags of a C compiler": {hostile{
			"x.go": "package hostile\n\n// #cgo CFLAGS: -include /etc/passwd\nimport \"C\"\n",
		}, k6x.BuildFailed, "cgo"},
	} {
		t.Run(name, func(t *testing.T) {
			e := hostileEngine(t, test.files.serve(t), Config{})
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hostile@v0.1.0")}, nil, io.Discard)
			if k6x.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v: %v", k6x.KindOf(err), err)
			}
		})
	}
}

// What a module says to run is not run.
func TestNothingOfAModuleIsRun(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	e := hostileEngine(t, hostile{
		"x.go": "package hostile\n\n//go:generate touch " + mark + "\n\nfunc init() { println(1) }\n",
	}.serve(t), Config{Cage: new(cage.Cage)})
	build(t, e, e.recipe("v1.0.0", "hostile@v0.1.0"), nil)
	if _, err := os.Stat(mark); !os.IsNotExist(err) {
		t.Errorf("go:generate was run: %v", err)
	}
}

func TestArchivesThatAreLargerThanTheyLook(t *testing.T) {
	const goMod = "module " + hostilePath + "\n\ngo 1.21\n"
	// A gigabyte of zeros, of which a megabyte is a kilobyte.
	const chunks = 1 << 10
	var chunk bytes.Buffer
	deflate, err := flate.NewWriter(&chunk, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	megabyte, sum := make([]byte, 1<<20), crc32.NewIEEE()
	if _, err := deflate.Write(megabyte); err != nil {
		t.Fatal(err)
	}
	if err := deflate.Flush(); err != nil {
		t.Fatal(err)
	}
	for range chunks {
		sum.Write(megabyte)
	}
	for name, test := range map[string]struct {
		write func(*zip.Writer) error
		check func(t *testing.T, e *Engine, err error)
	}{
		"zeros": {func(archive *zip.Writer) error {
			w, err := archive.CreateRaw(&zip.FileHeader{
				Name: hostilePath + "@v0.1.0/x.txt", Method: zip.Deflate, CRC32: sum.Sum32(),
				CompressedSize64: uint64(chunks*chunk.Len() + 2), UncompressedSize64: chunks << 20,
			})
			if err != nil {
				return err
			}
			for range chunks {
				if _, err := w.Write(chunk.Bytes()); err != nil {
					return err
				}
			}
			_, err = w.Write([]byte{3, 0}) // the last block, which is empty
			return errors.Join(err, add(archive, "go.mod", strings.NewReader(goMod)))
		}, func(t *testing.T, _ *Engine, err error) {
			if kind := k6x.KindOf(err); kind != k6x.BuildFailed || !strings.Contains(err.Error(), "too large") {
				t.Errorf("%v: %v", kind, err)
			}
		}},
		"many files": {func(archive *zip.Writer) error {
			for i := range 51_000 {
				if err := add(archive, "x"+strconv.Itoa(i)+".txt", strings.NewReader("")); err != nil {
					return err
				}
			}
			return errors.Join(add(archive, "go.mod", strings.NewReader(goMod)), add(archive, "x.go", strings.NewReader("package hostile\n")))
		}, func(t *testing.T, _ *Engine, err error) {
			if kind := k6x.KindOf(err); kind != k6x.BuildFailed || !strings.Contains(err.Error(), "files") {
				t.Errorf("%v: %v", kind, err)
			}
		}},
		"deep directories": {func(archive *zip.Writer) error {
			return errors.Join(add(archive, strings.Repeat("d/", 500)+"x.go", strings.NewReader("package d\n")),
				add(archive, "go.mod", strings.NewReader(goMod)), add(archive, "x.go", strings.NewReader("package hostile\n")))
		}, func(t *testing.T, _ *Engine, err error) {
			if err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() // in memory where that can be had: to make so many files on a disk takes most of the time
			if syscall.Mount("none", dir, "tmpfs", 0, "size=2g") == nil {
				t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
			}
			e := hostileEngine(t, serveHostile(t, goMod, test.write), Config{Dir: dir})
			t.Cleanup(func() { _ = workdir.RemoveAll(e.Dirs.ModCache) })
			_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "hostile@v0.1.0")}, nil, io.Discard)
			e.Settle(t.Context())
			test.check(t, e, err)
		})
	}
}
