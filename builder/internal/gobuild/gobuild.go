// Package gobuild has what engines have in common that make a binary by one go build, wherever that runs. The same recipe gives
// the same bytes in all of them.
//
// The files: main.go has the main module that is built, recipe.go the arguments and what of a recipe can be followed, replaced.go what
// replaces modules, progress.go how far the build is, live.go what is said meanwhile. output.go says what of the output strangers may read, classify.go what a
// failure means and blame.go which module is at fault, with reason.go and sources.go for why; includes.go and includes_cgo.go which files a
// module may include, verify.go whether the binary is the one that was asked for. deliver.go hands it over.
package gobuild

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k6x"
	"k6x/internal/disk"
)

// Stopped returns the error of a build whose ctx has ended; err if it has not.
func Stopped(ctx context.Context, err error) error {
	switch cause := ctx.Err(); {
	case cause == nil:
		return err
	case errors.Is(cause, context.DeadlineExceeded), errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return k6x.Errorf(k6x.Timeout, "the build did not end in time").WithCause(context.Cause(ctx))
	default:
		return k6x.Errorf(k6x.Canceled, "the build was canceled").WithCause(context.Cause(ctx))
	}
}

// TookTooLong returns the error of a build that did not end within its time, and printed text, which is clean.
func TookTooLong(timeout time.Duration, text string, err error) error {
	return WithOutput(k6x.Errorf(k6x.Timeout, "the build took longer than %v", timeout).
		WithHint("Try again: what was compiled is kept, so that the next build goes on from there.").WithCause(err), text)
}

// FileError returns the error for a file operation of ours that failed.
func FileError(doing string, err error) error {
	if e, ok := errors.AsType[*k6x.Error](err); ok {
		return e
	}
	if disk.IsFull(err) {
		return outOfSpace().WithCause(err)
	}
	if e, ok := errors.AsType[*k6x.Error](disk.Explain(err)); ok {
		return e
	}
	return k6x.Errorf(k6x.Internal, "something went wrong while %s", doing).WithCause(err)
}

// outOfSpace returns the error for a full disk.
func outOfSpace() *k6x.Error {
	return k6x.Errorf(k6x.NoSpace, "there is no room left on the disk of the cache directory to build").
		WithHint("Try again later; the operator has to make room, or to name another directory with --cache-dir.")
}

func outOfMemory() *k6x.Error {
	return k6x.Errorf(k6x.Unavailable, "the build was stopped by the system").
		WithHint("The service may be short of memory.").WithRetry(time.Minute)
}

func wrongBinary(format string, args ...any) *k6x.Error {
	return k6x.Errorf(k6x.Internal, "the binary that was built is not what was asked for: %s", fmt.Sprintf(format, args...))
}
