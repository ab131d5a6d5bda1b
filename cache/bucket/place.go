package bucket

import (
	"context"
	"io"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/dir"
)

// Place is a bucket that a [Store] has for itself, or shares with others that lock it. So the store can bound it.
type Place interface {
	blob.Bucket

	// Lock keeps other processes from changing the place until unlock is called.
	Lock() (unlock func(), err error)

	// Draft begins the bytes of a binary.
	Draft() (Draft, error)

	// Changed returns the keys of which other processes may have changed what is there, and the beginnings of keys that
	// now are among these keys or nowhere. The first call returns all keys, and each call those of before until seen was called.
	// Both are called under Lock.
	Changed(ctx context.Context) (prefixes, keys []string, seen func(), err error)

	// Note is called under Lock when an artifact has come or gone; again: its bytes have come again.
	Note(key string, again bool)

	// Discard takes away a blob, or all whose names begin with a name and a slash, at once. The function that it returns frees
	// the room. That there is nothing is no error.
	Discard(ctx context.Context, name string) (remove func(), err error)

	// Touch sets the ModTime of a blob.
	Touch(ctx context.Context, name string, to time.Time) error
}

// Draft is a blob on its way in. It may be an adopter.
type Draft interface {
	io.Writer

	// Sync makes what was written durable.
	Sync() error

	// Open returns what was written.
	Open() (blob.Bytes, error)

	// Commit makes the draft, which was synced, the blob of that name. If it fails, the blob may be there, but not last.
	Commit(ctx context.Context, name string) error

	// Close removes what has not become a blob.
	Close() error
}

// adopter is a draft that can take a whole file, as a [cache.Adopter] does.
type adopter interface{ Adopt(name string) error }

var _ adopter = (*dir.Draft)(nil)
