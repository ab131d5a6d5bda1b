// Package process becomes k6.
//
// Where a process can become another program (Unix), it does: process id, terminal, signals, limits, descriptors and
// exit code then are k6's own. On Windows k6 is a child at the same console, whose exit code is
// relayed.
package process

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"k6x"
)

// Process is the k6 to become.
type Process struct {
	Path  string   // of the executable
	Args  []string // without the name of the program, which is "k6"
	Env   []string // KEY=VALUE, exactly; nil: the environment of this process
	Stdin []byte   // the bytes read from stdin, to be read again; nil: stdin is passed on

	// Release, if not nil, is called when the executable is not needed any more. If this process becomes k6
	// it is not called: locks that it would release have to end with this process, as file locks do.
	Release func()
}

// Run becomes k6, and does not return if that succeeds on Unix; elsewhere it returns the exit code when
// k6 has ended. It does not start k6 if ctx has ended; after that only signals and the console end it.
//
// On Unix k6 inherits the state of this process: it must have no children any more, and must not ignore
// signals ([os/signal.Ignore]). Those that it asked for ([os/signal.Notify]) it does not get any more, even if
// k6 cannot be started, and stdin then is at its start again only if it was given as bytes.
//
// The error is of kind [k6x.NotFound] if there is no executable, [k6x.Invalid] if it is
// none for this machine or the arguments are too long, [k6x.Forbidden] if it may not be executed,
// [k6x.Canceled] if ctx has ended, and else [k6x.Internal].
func Run(ctx context.Context, p Process) (exitCode int, err error) {
	if p.Release == nil {
		p.Release = func() {}
	}
	defer p.Release()
	if p.Env == nil {
		p.Env = os.Environ()
	}
	return run(ctx, p, append([]string{"k6"}, p.Args...))
}

// Fails reports whether a k6 ends with an error when it is asked for its version: something in it cannot be initialized. Env is as for
// [Process].
func Fails(ctx context.Context, path string, env []string) bool {
	timed, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	cmd := exec.CommandContext(timed, path, "version")
	cmd.Env = env
	_, failed := errors.AsType[*exec.ExitError](cmd.Run())
	return failed && timed.Err() == nil
}

// fault says why path could not be started.
func fault(path string, err error) error {
	const another = "Try again with --clean, or choose another builder with --builder."
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(path); statErr == nil {
			return k6x.Errorf(k6x.Invalid, "the k6 binary %s needs a loader that is not on this machine", path).
				WithHint("It was linked for another system, such as one with another C library. %s", another).WithCause(err)
		}
		return k6x.Errorf(k6x.NotFound, "the k6 binary %s is not there", path).WithHint("Try again.").WithCause(err)
	case errors.Is(err, syscall.ENOEXEC):
		return k6x.Errorf(k6x.Invalid, "the k6 binary %s is not a program for this machine", path).WithHint(another).WithCause(err)
	case errors.Is(err, fs.ErrPermission):
		return k6x.Errorf(k6x.Forbidden, "the k6 binary %s may not be executed", path).
			WithHint("If its directory is on a file system without execution (noexec), choose another one with --bin-dir.").WithCause(err)
	case errors.Is(err, syscall.E2BIG):
		return k6x.Errorf(k6x.Invalid, "the arguments and the environment are too long for k6").
			WithHint("Put what is long into the script, or into the file of --config.").WithCause(err)
	}
	return k6x.Errorf(k6x.Internal, "the k6 binary %s cannot be started: %w", path, err)
}
