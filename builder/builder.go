// Package builder turns an exact recipe into a binary that is kept.
//
// An [Engine] makes the bytes; there is one in each subpackage (native runs the go
// command here). A [Builder] returns the record of a kept binary: [Keep] makes one of
// an engine and a store, and [Limit] and [Dedup] wrap one. [Record] wraps an engine. They
// stack as
//
//	Dedup ─► Limit ─► Keep ─► Record ─► engine
//
// so that one key is built once however many ask, a build waits for a slot in a
// fair and bounded queue, and its bytes go straight from the engine to the store.
package builder

import (
	"context"
	"io"

	"k6x"
)

// Engine makes binaries. It neither resolves nor stores.
type Engine interface {
	// Build writes the binary of the recipe to w and reports how it was made. If
	// lock is not nil, it is used read-only, so that the module versions are those of
	// an earlier build. Once Build has returned, none of its processes and files are
	// left, also if ctx ended. If it returns an error, what was written to w is worth
	// nothing.
	//
	// Errors are of kind BuildFailed, Conflict, Forbidden (cgo), Unavailable (modules
	// cannot be fetched), NotFound (no such module version), NoSpace, Timeout or Canceled;
	// Invalid for a recipe that the engine cannot follow. An error of w is returned as it
	// is if it is a [k6x.Error].
	Build(ctx context.Context, recipe k6x.Recipe, lock *k6x.Lock, w io.Writer) (k6x.Build, error)
}

// Builder makes sure that the binary of a recipe is kept.
type Builder interface {
	// Build returns the record of the recipe's binary, which is built if need be.
	// Its errors are those of an [Engine], and Quota or Busy if there is no place in
	// the queue.
	Build(ctx context.Context, recipe k6x.Recipe) (k6x.Artifact, error)
}
