package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/goproxytest"

	"k6x"
)

// building is what is built: the real k6 with extensions, or in short a stand-in for it that takes no time.
type building struct {
	k6         string      // version
	extensions [][2]string // module and version, what it is called in a list
	registry   string
	env        []string // for the go command
	modules    *goproxytest.Server
}

// newBuilding serves the modules. The caller closes modules.
func (w *world) newBuilding(ctx context.Context) (*building, error) {
	b := &building{k6: "v1.8.1", registry: filepath.Join(w.source, "testdata", "registry.json"), extensions: [][2]string{
		{"ext.example/xk6-many v0.1.0", "k6/x/many@v0.1.0"},
		{"ext.example/xk6-newer v0.2.0", "k6/x/newer@v0.2.0"},
		{"ext.example/xk6-one v0.1.0", "k6/x/one@v0.1.0"},
		{"ext.example/xk6-output-ticks v0.1.0", "ticks@v0.1.0"},
		{"ext.example/xk6-two v0.2.0", "k6/x/two@v0.2.0"},
		{"github.com/grafana/xk6-redis v0.3.6", "k6/x/redis@v0.3.6"},
	}}
	tree := "ext"
	if w.short {
		tree = "standin"
		b.k6, b.registry, b.extensions = "v1.1.0", filepath.Join(w.source, "service", "testdata", "registry.json"), [][2]string{
			{"example.com/xk6-hello v0.1.1", "k6/x/hello@v0.1.1"},
			{"example.com/xk6-newer v0.1.0", "k6/x/newer@v0.1.0"},
			{"example.com/xk6-world v0.1.0", "k6/x/world@v0.1.0"},
		}
	}
	var err error
	if b.modules, err = goproxytest.NewServer(filepath.Join(w.source, "testdata", tree), "127.0.0.1:0"); err != nil {
		return nil, err
	}
	b.env = append(os.Environ(), "GOPROXY="+b.modules.URL, "GOSUMDB=off")
	if !w.short {
		proxy, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
		if err != nil {
			b.modules.Close()
			return nil, err
		}
		b.env = append(os.Environ(), "GOPROXY="+b.modules.URL+","+strings.TrimSpace(string(proxy)), "GONOSUMDB=ext.example")
	}
	return b, nil
}

// path returns the canonical path of the n-th combination of extensions, and its modules. There is none
// but for n from 1 to b.combinations().
func (b *building) path(n int) (path string, modules []string) {
	var names []string
	for i, e := range b.extensions {
		if n&(1<<i) != 0 {
			modules, names = append(modules, e[0]), append(names, e[1])
		}
	}
	slices.Sort(names)
	return "/" + host().String() + "/" + strings.Join(append([]string{"k6@" + b.k6}, names...), ","), modules
}

// combinations is the number of the combination of all extensions, the largest.
func (b *building) combinations() int { return 1<<len(b.extensions) - 1 }

func host() k6x.Platform { return k6x.Platform{OS: runtime.GOOS, Arch: runtime.GOARCH} }

// build starts a service with b's environment, which has compiled each extension once unless cold.
func (w *world) build(ctx context.Context, b *building, cold bool) (s *server, cacheDir string, err error) {
	if cacheDir, err = w.temp("cache"); err != nil {
		return nil, "", err
	}
	cmd := exec.Command(w.k6x, "service", "--addr", "127.0.0.1:0", "--cache-dir", cacheDir, "--registry", b.registry)
	cmd.Env = b.env
	if s, err = w.start("", cmd); err != nil || cold {
		return s, cacheDir, err
	}
	path, _ := b.path(b.combinations())
	_, err = ask(ctx, s, "GET", path, 1)
	return s, cacheDir, err
}

// ask sends one request of each of so many clients, and returns what that came to.
func ask(ctx context.Context, s *server, method, path string, clients int) (outcome, error) {
	return load{addr: s.addr, method: method, paths: []string{path}, clients: clients, requests: clients, status: 200, size: -1}.run(ctx)
}

// settle lets the disk come to rest, so that nobody pays for what another has written.
func settle(ctx context.Context) { _ = exec.CommandContext(ctx, "sync").Run() }

// linkCommand returns a function that links k6 with modules and does nothing else: the command that
// go build runs, with its inputs kept. Go's caches are those of a service.
func (w *world) linkCommand(ctx context.Context, b *building, cacheDir string, modules []string) (func() error, error) {
	dir, err := w.temp("link")
	if err != nil {
		return nil, err
	}
	work := filepath.Join(dir, "work")
	goMod, imports := "module k6\n\ngo 1.21\n\nrequire go.k6.io/k6 "+b.k6+"\n", ""
	for _, m := range modules {
		path, _, _ := strings.Cut(m, " ")
		goMod += "require " + m + "\n"
		imports += "import _ \"" + path + "\"\n"
	}
	mainGo := "package main\n\nimport \"go.k6.io/k6/cmd\"\n" + imports + "\nfunc main() { cmd.Execute() }\n"
	if err := errors.Join(os.Mkdir(work, 0o755), os.WriteFile(filepath.Join(dir, "go.mod"), []byte(goMod), 0o644),
		os.WriteFile(filepath.Join(dir, "main.go"), []byte(mainGo), 0o644)); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-x", "-work", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", "k6", ".")
	build.Dir = dir
	build.Env = append(slices.Clone(b.env), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOTMPDIR="+work,
		"GOMODCACHE="+filepath.Join(cacheDir, "go", "modcache"), "GOCACHE="+filepath.Join(cacheDir, "go", "gocache"))
	out, err := build.CombinedOutput()
	root := regexp.MustCompile(`(?m)^WORK=(.*)$`).FindSubmatch(out)
	command := regexp.MustCompile(`(?m)^.*/link -o .*$`).Find(out)
	if err != nil || root == nil || command == nil {
		return nil, fmt.Errorf("no link command from go build: %w\n%s", err, out[max(0, len(out)-2000):])
	}
	return func() error {
		cmd := exec.CommandContext(ctx, "sh", "-c", string(command))
		cmd.Dir, cmd.Env = dir, append(slices.Clone(build.Env), "WORK="+string(root[1]))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("link: %w\n%s", err, out)
		}
		return nil
	}, nil
}

// took runs f and returns the seconds that it took.
func took(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds(), err
}
