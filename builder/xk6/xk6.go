// Package xk6 is the engine that has an xk6 program build, as its users are used to. It
// makes no promise about bytes: they depend on the version of that program. What it builds is
// read and compared with the recipe all the same.
package xk6

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/builder/internal/workdir"
	"k6x/event"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/gomod"
)

// Config says where and how to build.
type Config struct {
	Program string        // the name or path of xk6; "": xk6
	Tool    *gotool.Tool  // the go command on PATH, which xk6 uses too
	Dir     string        // gets work/, gocache/, modcache/ and home/; may be shared with builder/native
	Timeout time.Duration // of one build; 0: 15 minutes
	Cgo     bool          // whether recipes with cgo are built
	Cage    *cage.Cage    // nil: xk6 runs as this process does

	// Personal are files and directories of the user's that xk6 may read, such as the configuration of git.
	Personal []string

	Logger *slog.Logger // nil: nothing is logged
}

// Engine builds with xk6. Make one with [New].
type Engine struct {
	*workdir.Host
	cfg     Config
	program string
}

var _ builder.Engine = (*Engine)(nil)

// flag stands in recipes for the flags of go build, which xk6 chooses.
const flag = "xk6"

// New returns an engine. The error is of kind [k6x.Unavailable] if there is no xk6.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Minute)
	name := cmp.Or(cfg.Program, "xk6")
	program, err := exec.LookPath(name)
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, k6x.Errorf(k6x.Unavailable, "there is no program %s", name).
			WithHint("Install it with go install go.k6.io/xk6@latest, or choose another builder.").WithCause(err)
	}
	host := &workdir.Host{Tool: cfg.Tool, Cage: cfg.Cage, Personal: cfg.Personal, Log: cfg.Logger}
	if err := host.Open(ctx, cfg.Dir); err != nil {
		return nil, err
	}
	return &Engine{Host: host, cfg: cfg, program: program}, nil
}

// Settings returns what this engine adds to a request to make a recipe of it. No other
// engine follows such recipes.
func (e *Engine) Settings() k6x.Settings {
	settings := gobuild.Settings(e.Tool.Version, e.Tool.Codegen)
	settings.Flags = []string{flag}
	return settings
}

// Build makes the binary as [builder.Engine] says. There is no lock in what it reports, and a
// recipe with one is an error of kind Invalid: xk6 neither shows nor takes one.
func (e *Engine) Build(ctx context.Context, job builder.Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	recipe := job.Recipe
	if err := e.check(recipe, job.Lock); err != nil {
		return k6x.Build{}, err
	}
	leave, err := e.Enter(ctx)
	if err != nil {
		return k6x.Build{}, err
	}
	defer leave()
	started := time.Now()
	dir, err := e.MakeTemp()
	if err != nil {
		return k6x.Build{}, gobuild.FileError("making a directory to build in", err)
	}
	defer e.Remove(dir)
	blame := gobuild.NewBlame(recipe, &gomod.Graph{Roots: gobuild.Pins(recipe)}) // xk6 keeps the go.mod files to itself
	blame.Unreached = e.Tool.Egress.Explain
	blame.Root = (&gomod.Cache{Dir: e.Dirs.ModCache}).Root
	output := filepath.Join(dir, gobuild.OutputName)
	if err := e.run(ctx, recipe, blame, dir, output, report); err != nil {
		return k6x.Build{}, err
	}
	report.Progress(event.Checking, "", 0, 0)
	info, err := blame.Inspect(output, nil)
	if err != nil {
		return k6x.Build{}, err
	}
	build := gobuild.Report(info, k6x.Lock{})
	build.Warnings = blame.Warnings()
	return gobuild.Deliver(ctx, w, output, "", started, build)
}

func (e *Engine) check(recipe k6x.Recipe, lock *k6x.Lock) error {
	if !slices.Equal(recipe.Flags, []string{flag}) {
		return k6x.Errorf(k6x.Invalid, "this binary was not made by xk6, and xk6 cannot make it again")
	}
	if lock != nil && *lock != (k6x.Lock{}) {
		return k6x.Errorf(k6x.Invalid, "xk6 cannot build with the module versions of an earlier build")
	}
	if recipe.Toolchain != e.Tool.Version {
		return k6x.Errorf(k6x.Invalid, "xk6 builds with %s here, and %s was asked for", e.Tool.Version, recipe.Toolchain)
	}
	recipe.Flags = gobuild.Settings(recipe.Toolchain, nil).Flags
	return gobuild.Check(recipe, e.cfg.Cgo)
}

// command returns xk6 build for a recipe.
func (e *Engine) command(ctx context.Context, recipe k6x.Recipe, dir, output string, more ...string) *exec.Cmd {
	args := []string{"build", recipe.K6.Version}
	for _, m := range recipe.Extensions {
		args = append(args, "--with", m.String())
	}
	args = append(args, "--output", output)
	return e.Command(ctx, dir, dir, e.program, append(args, more...), gobuild.Env(recipe))
}

// policy lets xk6 fetch modules and compile them in dir. It runs what is there, as it did all that itself.
func (e *Engine) policy(dir string) cage.Policy {
	p := e.FetchPolicy(dir)
	p.Exec = append(p.Exec, e.program, dir)
	return p
}

const maxOutput = 1 << 20

// run runs xk6. If it fails, it is run once more and told to be verbose: since version 1.0 it
// does not show the words of the compiler otherwise.
func (e *Engine) run(ctx context.Context, recipe k6x.Recipe, blame *gobuild.Blame, dir, output string, report event.Sink) error {
	timed, stop := context.WithTimeout(ctx, e.cfg.Timeout)
	defer stop()
	progress := gobuild.Watch(report)
	said := ""
	var failed error
	for _, more := range [][]string{nil, {"--verbose"}} {
		out := &cage.Output{Max: maxOutput, Line: func(line string) {
			if strings.HasPrefix(line, gobuild.Downloading) { // the other lines are xk6's own
				progress.Line(line)
			}
		}}
		cmd := e.command(timed, recipe, dir, output, more...)
		cmd.Stdout, cmd.Stderr = out, out
		err := e.Cage.Run(cmd, e.policy(dir))
		if err == nil {
			return nil
		}
		if text := e.clean(out.String(), dir); failed == nil || len(text) > len(said) { // an older xk6 complains about the flag
			said, failed = text, err
		}
		if exceeded, ok := errors.AsType[*cage.Exceeded](err); ok {
			return blame.TooMuch(exceeded, said)
		}
		if timed.Err() != nil || cage.Killed(err) {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		return gobuild.Stopped(ctx, failed)
	case timed.Err() != nil:
		err := k6x.Errorf(k6x.Timeout, "xk6 took longer than %v", e.cfg.Timeout).WithHint("Try again: what was compiled is kept.").WithCause(failed)
		return gobuild.WithOutput(err, said)
	}
	err := blame.Explain(nil, telling(said), failed, cage.Killed(failed))
	if e, ok := errors.AsType[*k6x.Error](err); ok && e.Output != "" {
		return gobuild.WithOutput(e, said)
	}
	return err
}

// imported is how go mod tidy begins a line on a module that it cannot get.
var imported = regexp.MustCompile(`(?m)^\t\S+: (\S+@\S+: )`)

// telling returns the part of the output that says what went wrong: what the compiler says,
// or else the last lines, as go build would put them.
func telling(text string) string {
	if strings.HasPrefix(text, "# ") || strings.Contains(text, "\n# ") {
		return text
	}
	const most = 15
	lines := strings.SplitAfter(strings.TrimRight(text, "\n"), "\n")
	return imported.ReplaceAllString(strings.Join(lines[max(0, len(lines)-most):], ""), "$1")
}

// clean returns the output without the directories of this machine.
func (e *Engine) clean(text, dir string) string {
	// Where xk6 runs the go command is a directory in dir. A path from there may begin outside.
	text = strings.ReplaceAll(text, dir+string(filepath.Separator), "")
	return gobuild.Clean(text, filepath.Join(dir, "main"), gobuild.Place{Dir: e.Dirs.ModCache},
		gobuild.Place{Dir: e.Dir, As: gobuild.Outside}, gobuild.Place{Dir: e.Tool.Root, As: "GOROOT"})
}
