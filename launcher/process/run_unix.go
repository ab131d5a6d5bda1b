//go:build unix

package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"k6x"
)

// run becomes p. Of the state that a process hands on to the program that it becomes, Go's runtime changes
// these:
//   - The limit of open files, which it raises: [syscall.Exec] sets it back.
//   - Its descriptors: they are closed on exec. Those that were inherited stay.
//   - Signals with a handler: the kernel sets them back to the default, but SIGINT and SIGHUP may have been ignored before (nohup,
//     background jobs); Reset sees to that. Others that were ignored are not any more, which makes no
//     difference to k6, as its own runtime does the same.
func run(ctx context.Context, p Process, argv []string) (int, error) {
	signal.Reset() // from here on they end this process, as they do with k6 when it starts
	if ctx.Err() != nil {
		return 0, k6x.CanceledBy(ctx)
	}
	if p.Stdin != nil {
		if err := giveAgain(p.Stdin); err != nil {
			kind := k6x.Internal
			if errors.Is(err, syscall.ENOSPC) {
				kind = k6x.NoSpace
			}
			return 0, k6x.Errorf(kind, "the script from stdin cannot be passed to k6: %w", err).
				WithHint("Write it to a file and give its path.")
		}
	}
	err := syscall.Exec(p.Path, argv, p.Env)
	const badArch = syscall.Errno(86) // EBADARCH there
	if runtime.GOOS == "darwin" && errors.Is(err, badArch) {
		err = errors.Join(syscall.ENOEXEC, err)
	}
	return 0, fault(p.Path, err)
}

// giveAgain makes stdin a file without a name that has data: a pipe would need a process to write to it.
func giveAgain(data []byte) error {
	file, err := nameless()
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, bytes.NewReader(data)); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return unix.Dup2(int(file.Fd()), syscall.Stdin)
}

// temporary returns a file in the directory for temporary files, which has no name any more.
func temporary() (*os.File, error) {
	file, err := os.CreateTemp("", "k6x-stdin-")
	if err != nil {
		return nil, err
	}
	return file, os.Remove(file.Name())
}
