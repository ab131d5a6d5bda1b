package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// goCaches are the go command's caches.
type goCaches struct{ modules, builds string }

// cachesOf returns those of a service.
func cachesOf(cacheDir string) goCaches {
	return goCaches{filepath.Join(cacheDir, "go", "modcache"), filepath.Join(cacheDir, "go", "gocache")}
}

func (c goCaches) env() []string {
	return []string{"GOMODCACHE=" + c.modules, "GOCACHE=" + c.builds, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0"}
}

// program is a main module of a combination for the go command, with all versions locked and downloaded.
type program struct {
	dir string
	env []string
}

func (w *world) newProgram(ctx context.Context, b *building, caches goCaches, c combination) (*program, error) {
	dir, err := w.temp("program")
	if err != nil {
		return nil, err
	}
	work := filepath.Join(dir, "work")
	p := &program{dir: dir, env: append(append(slices.Clone(b.env), caches.env()...), "GOTMPDIR="+work)}
	if err := errors.Join(os.Mkdir(work, 0o755), writeMain(dir, b.k6, c.extensions)); err != nil {
		return nil, err
	}
	_, err = p.run(ctx, "go", "list", "-mod=mod", "-deps", ".") // which compiles nothing
	return p, err
}

// writeMain writes the main module. No other directory's has been compiled to the same, as a comment names the directory.
func writeMain(dir, k6 string, extensions []extension) error {
	goMod, imports := "module k6\n\ngo 1.21\n\nrequire go.k6.io/k6 "+k6+"\n", ""
	for _, e := range extensions {
		goMod += "require " + e.module + " " + e.version + "\n"
		imports += "import _ \"" + e.module + "\"\n"
	}
	source := "// In " + filepath.Base(dir) + ".\npackage main\n\nimport \"go.k6.io/k6/cmd\"\n" + imports + "\nfunc main() { cmd.Execute() }\n"
	return errors.Join(os.WriteFile(filepath.Join(dir, "go.mod"), []byte(goMod), 0o644), os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644))
}

// run runs a command in the directory of the program and returns what it prints.
func (p *program) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", name, err, out[max(0, len(out)-2000):])
	}
	return out, err
}

// build runs go build, which makes what a service makes.
func (p *program) build(ctx context.Context, more ...string) ([]byte, error) {
	args := []string{"build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", "k6"}
	return p.run(ctx, "go", append(append(args, more...), ".")...)
}

var (
	workDir     = regexp.MustCompile(`(?m)^WORK=(.*)$`)
	linkCommand = regexp.MustCompile(`(?m)^.*/link -o .*$`)
	// compiling is a line that go build shows of what makes a package: where, and by which command.
	compiling = regexp.MustCompile(`(?m)^(cd .*|[^#\n]*/(?:compile|asm|pack) .*)$`)
	mainOnly  = regexp.MustCompile(`/compile .* -p main `)
)

// bare builds the program, and returns functions that run again only the link of that, and only what compiled packages
// that were not compiled before, the main one left out: the very commands of go build, one after another, with their
// inputs kept. The number is that of those packages. The link has to be run first.
func (p *program) bare(ctx context.Context) (link, compile func() error, packages int, err error) {
	out, err := p.build(ctx, "-x", "-work")
	if err != nil {
		return nil, nil, 0, err
	}
	work, linking := workDir.FindSubmatch(out), linkCommand.Find(out)
	if work == nil || linking == nil {
		return nil, nil, 0, fmt.Errorf("go build does not show how it links:\n%s", out[max(0, len(out)-2000):])
	}
	script := []string{"set -e"}
	for _, line := range compiling.FindAllString(string(out), -1) {
		if mainOnly.MatchString(line) {
			continue
		}
		if strings.Contains(line, "/compile ") {
			packages++
		}
		script = append(script, line)
	}
	p.env = append(p.env, "WORK="+string(work[1]))
	sh := func(script string) func() error {
		return func() error { _, err := p.run(ctx, "sh", "-c", script); return err }
	}
	return sh(string(linking)), sh(strings.Join(script, "\n")), packages, nil
}

// took runs f and returns the seconds that it took.
func took(f func() error) (float64, error) {
	began := time.Now()
	err := f()
	return time.Since(began).Seconds(), err
}
