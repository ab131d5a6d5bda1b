package native

import (
	"context"
	"errors"
	"fmt"
	"go/version"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/internal/gomod"
)

// ErrUntrue is the cause of an error for what another machine made if it is not what was asked for.
var ErrUntrue = errors.New("what was made elsewhere is not what was asked for")

const maxLock = 1 << 20 // bytes of a go.mod and of a go.sum from elsewhere

// Accept gives a binary to w that another machine made of a job, with the lock that it was made with, if it is what the recipe asks for: the
// binary is read as if it had been made here, and what it is made of has to follow from the modules of the recipe. What of these is not here is
// fetched as for a build, and sums are compared: nothing is fetched that only the other machine names. Whether the code is that of these modules
// only another build can tell. The file is gone afterwards.
//
// Errors: one with the cause [ErrUntrue]; those of [Engine.Build] for what is not the other machine's fault.
func (e *Engine) Accept(ctx context.Context, job builder.Job, file string, lock k6x.Lock, w io.Writer) (k6x.Build, error) {
	ws, err := e.Open(ctx, job, nil)
	if err != nil {
		return k6x.Build{}, err
	}
	defer ws.Close()
	if err := os.Rename(file, ws.Output()); err != nil {
		return k6x.Build{}, gobuild.FileError("reading the binary", err)
	}
	if ws.locked {
		lock = *job.Lock
	}
	used, err := madeWith(lock, job.Recipe.Toolchain)
	if err != nil {
		return k6x.Build{}, untrue(err)
	}
	b, info, err := e.judge(ctx, ws, used)
	if err != nil {
		return k6x.Build{}, err
	}
	if err := e.checkSums(lock.GoSum, info); err != nil {
		return k6x.Build{}, untrue(err)
	}
	build := gobuild.Report(info, lock)
	build.Warnings = b.Warnings()
	return ws.Deliver(ctx, w, build, "")
}

func untrue(err error) error {
	return k6x.Errorf(k6x.Internal, "%v: %v", ErrUntrue, err).WithCause(ErrUntrue)
}

// madeWith returns the requirements of a lock, unless it says more than versions or is for a newer toolchain.
func madeWith(lock k6x.Lock, toolchain string) ([]module.Version, error) {
	if len(lock.GoMod) > maxLock || len(lock.GoSum) > maxLock {
		return nil, errors.New("its go.mod or go.sum is too large")
	}
	f, err := modfile.Parse("go.mod", []byte(lock.GoMod), nil)
	if err != nil {
		return nil, err
	}
	if f.Module == nil || f.Module.Mod.Path != "k6" || f.Go == nil || len(f.Replace)+len(f.Exclude)+len(f.Tool)+len(f.Godebug)+len(f.Retract)+len(f.Ignore) > 0 {
		return nil, errors.New("its go.mod says more than versions")
	}
	if version.Compare("go"+f.Go.Version, toolchain) > 0 || f.Toolchain != nil && version.Compare(f.Toolchain.Name, toolchain) > 0 {
		return nil, errors.New("its go.mod is for a newer toolchain")
	}
	for line := range strings.Lines(lock.GoSum) {
		if m, _ := gomod.ParseSum(line); m == (module.Version{}) {
			return nil, errors.New("its go.sum has a line that is none")
		}
	}
	return gobuild.Requires(lock.GoMod)
}

// judge reads the binary in ws. If what is here does not justify all that is in it, the modules of the recipe are fetched first.
func (e *Engine) judge(ctx context.Context, ws *Workspace, used []module.Version) (*gobuild.Blame, *debug.BuildInfo, error) {
	if ws.locked {
		used = nil // they were justified when the lock was made
	}
	b := e.newBlame(ws)
	info, err := b.Inspect(ws.Output(), used)
	if !ws.locked && (err != nil || slices.ContainsFunc(info.Deps, func(dep *debug.Module) bool { return e.sumOf(dep) == "" })) {
		timed, stop := context.WithTimeoutCause(ctx, e.cfg.Timeout, errTimeout)
		defer stop()
		if done := e.fetch(timed, ws); done.err != nil || done.cause != nil {
			return nil, nil, e.offline(ws, done.text, e.explain(ctx, ws, done))
		}
		b = e.newBlame(ws)
		info, err = b.Inspect(ws.Output(), used)
	}
	if err != nil {
		return nil, nil, untrue(err)
	}
	return b, info, nil
}

// checkSums compares the modules in a binary with a go.sum, and with what the go command has found here.
func (e *Engine) checkSums(goSum string, info *debug.BuildInfo) error {
	for _, dep := range info.Deps {
		if !strings.Contains("\n"+goSum, fmt.Sprintf("\n%s %s %s\n", dep.Path, dep.Version, dep.Sum)) {
			return fmt.Errorf("its go.sum has no line for %s %s as it is linked in", dep.Path, dep.Version)
		}
		if known := e.sumOf(dep); known != "" && known != dep.Sum {
			return fmt.Errorf("%s %s has other files than it has here", dep.Path, dep.Version)
		}
	}
	return nil
}

// sumOf returns the sum that the go command has found here of a module; "" if there is none.
func (e *Engine) sumOf(dep *debug.Module) string {
	return e.mods.Sum(module.Version{Path: dep.Path, Version: dep.Version})
}
