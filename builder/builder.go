// Package builder turns an exact recipe into a binary that is kept.
//
// An [Engine] makes the bytes of a [Job]; there is one in each subpackage (native runs the go
// command here, remote has workers build; [Places] are where Limit lets builds run). A [Builder] returns the record of a kept binary: [Keep] makes one of
// an engine and a store, and [Roomy], [Limit] and [Dedup] wrap one. They stack as
//
//	Dedup ─► Limit ─► Roomy ─► Keep ─► engine
//
// so that one key is built once however many ask, a build waits for a slot in a
// fair and bounded queue, and its bytes go straight from the engine to the store. Each of them says
// what happens to a job ([event.Event]); whatever is shown, counted or kept of builds is read from that.
package builder

import (
	"context"
	"io"

	"k6x"
	"k6x/event"
)

// Engine makes binaries. It neither resolves nor stores.
type Engine interface {
	// Build writes the binary of the job to w and reports how it was made. If the job has a
	// lock, it is used read-only, so that the module versions are those of
	// an earlier build. Once Build has returned, none of its processes and files are
	// left, also if ctx ended. If it returns an error, what was written to w is worth
	// nothing. Report takes how far the build is, as events of type [event.Progress], and what the tools say as they
	// say it, as far as strangers may read that, as events of type [event.Output]; nil: nothing of that is wanted.
	//
	// Errors:
	//   - BuildFailed, Conflict, Forbidden (cgo), Unavailable (modules cannot be fetched),
	//     NotFound (no such module version), NoSpace, Timeout or Canceled;
	//   - Invalid for a recipe that the engine cannot follow;
	//   - an error of w as it is if it is a [k6x.Error].
	Build(ctx context.Context, job Job, report event.Sink, w io.Writer) (k6x.Build, error)
}

// EngineFunc is a function that is an [Engine].
type EngineFunc func(ctx context.Context, job Job, report event.Sink, w io.Writer) (k6x.Build, error)

// Build calls f.
func (f EngineFunc) Build(ctx context.Context, job Job, report event.Sink, w io.Writer) (k6x.Build, error) {
	return f(ctx, job, report, w)
}

// Builder makes sure that the binary of a recipe is kept.
type Builder interface {
	// Build returns the record of the job's binary, which is built if need be.
	//
	// Errors: those of an [Engine]; Quota or Busy if there is no place in the queue; [ErrDiffers].
	Build(ctx context.Context, job Job) (k6x.Artifact, error)
}
