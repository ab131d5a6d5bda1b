// Package cache keeps bytes under validated keys: binaries with their records. It
// also bounds directories that others fill, such as Go's build cache.
//
// [Store] is the interface; the subpackage bucket implements it in buckets, in memory and, with dir, in a directory; tier puts a
// directory in front of a bucket, and the tests of cachetest are the conformance suite that each has to pass.
// [k6x/cache/blob] has the places for bytes that a bucket is in.
package cache

import (
	"context"
	"errors"
	"io"
	"time"

	"k6x"
)

// Errors of a [Store], for errors.Is.
var (
	// ErrNotFound: nothing was ever stored under the key, or the path is not bound.
	ErrNotFound = errors.New("not in the store")
	// ErrEvicted: the record is there but its bytes were removed to make room. The same
	// recipe with the record's lock gives the same bytes again.
	ErrEvicted = errors.New("evicted from the store")
	// ErrLimit: the limit of the store is too small. What is removed from the disk makes no room for it.
	ErrLimit = errors.New("the limit of the store")
)

// Store keeps binaries, each written once under the key of its recipe, and what
// canonical paths name. All methods may be called at once. A key that is not one
// ([k6x.CheckKey]) is an error of kind [k6x.Invalid].
type Store interface {
	// Lookup returns the key that path is bound to, or ErrNotFound.
	Lookup(ctx context.Context, path string) (key string, err error)

	// Bind binds path to key unless it is bound already, and returns the key that it
	// is bound to from now on. The key must have a record; else ErrNotFound.
	Bind(ctx context.Context, path, key string) (bound string, err error)

	// Open returns the bytes under key, ErrNotFound or ErrEvicted. The bytes stay
	// readable until the entry is closed.
	Open(ctx context.Context, key string) (*Entry, error)

	// Verify reads the bytes under key and compares them with the digest of the record. Where what is kept can be made again, damaged bytes are
	// removed, and the error is ErrEvicted; else it is of kind Internal. Also ErrNotFound or ErrEvicted.
	Verify(ctx context.Context, key string) error

	// Record returns the record under key, also if the bytes were evicted, or ErrNotFound.
	Record(ctx context.Context, key string) (k6x.Artifact, error)

	// Whole returns the record under key if its bytes are there, too, which are not opened; else ErrNotFound or ErrEvicted.
	Whole(ctx context.Context, key string) (k6x.Artifact, error)

	// Put stores what fill writes under recipe.Key() and returns its record; the
	// Build that fill returns becomes part of it. Either all of it is stored durably
	// and verified, or nothing. If a whole artifact is there already, or comes to be
	// while fill runs, the first one stays and its record is returned. If the record is
	// there but its bytes were evicted, fill must write the very same bytes; other
	// bytes are an error of kind Internal. An error of fill is returned as it is.
	// When there is no room, the error is of kind NoSpace. W may be an [Adopter].
	//
	// The path of the recipe is bound to the key, unless it is bound already. If that fails, as the place for bytes
	// goes away in between, the artifact is there and Bind can be called again.
	Put(ctx context.Context, recipe k6x.Recipe, fill func(w io.Writer) (k6x.Build, error), options ...PutOption) (k6x.Artifact, error)
}

// PutOption changes what the Put of a [Store] does.
type PutOption int

const (
	// Unbound leaves the path of the recipe as it is: the bytes are a form of the binary at that path.
	Unbound PutOption = iota + 1
	// Looked says that the caller just found that no whole artifact is there, so that Put need not look before fill runs.
	Looked
)

// Adopter is a writer that can take a whole file in place of its bytes, so that these are not written once more.
type Adopter interface {
	// Adopt moves a file to where the binary is to be. No process may be able to change it, nor have it open for
	// writing. Digest is the hex SHA-256 of its bytes, which is believed; "" to have them read.
	//
	// Errors: [errors.ErrUnsupported] if this file cannot be taken, which then is as it was and can be written instead;
	// else those of a write, after which the file may be gone.
	Adopt(name, digest string) error
}

// Entry is an open binary: what a response needs, without the whole record.
type Entry struct {
	Key      string
	Digest   string    // hex SHA-256 of the bytes
	Size     int64     // bytes
	Stored   time.Time // UTC, whole seconds
	Platform k6x.Platform
	Warnings []string      // of the build
	Body     io.ReadSeeker // an *os.File where there is one, so that it can be sent with sendfile

	// Provisional: it may not be the one that everybody gets from now on, so that no cache is to keep it.
	Provisional bool

	// Verify returns nil once all bytes are known to have the digest; else the last of them must not be sent. It may be called more than once, also
	// after Close, and ends with ctx. Nil: that is known already, or Body finds out by itself.
	Verify func(ctx context.Context) error

	// Await returns once Body can be read, for a while at least, without a wait for the first byte. Nil: it can.
	Await func(ctx context.Context) error

	Release func() // set by the store; called once by Close
}

// Close ends the use of the entry.
func (e *Entry) Close() error {
	if release := e.Release; release != nil {
		e.Release = nil
		release()
	}
	return nil
}
