// Package blob keeps named bytes. A blob is there as a whole or not at all; what can be kept is bounded by its user.
//
// [Bucket] is the interface. There is one driver for each kind of place: [k6x/cache/blob/dir], [k6x/cache/blob/mem],
// [k6x/cache/blob/s3], [k6x/cache/blob/gs] and [k6x/cache/blob/azblob]; [k6x/cache/blob/dial] opens the one that a URL
// names, and the tests of [k6x/cache/blob/blobtest], which has faults and servers, are the conformance suite that all pass.
package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"time"
)

// Bucket is a place for blobs. All methods may be called at once. An error that is none of those named is one of the
// connection, of the service or of the disk; it keeps its identity and its words.
type Bucket interface {
	// Open returns the bytes of a blob from an offset that is below its size, or 0, to its end, and what is known of the
	// whole blob. The body ends with ctx. In a directory it is an *os.File.
	//
	// Errors:
	//   - fs.ErrNotExist: there is no such blob
	Open(ctx context.Context, name string, offset int64) (io.ReadCloser, Info, error)

	// Stat returns what is known of a blob.
	//
	// Errors:
	//   - fs.ErrNotExist: there is no such blob
	Stat(ctx context.Context, name string) (Info, error)

	// Put writes a blob of size bytes, in place of the one of that name if there is one. Parts of body are read again
	// when a connection breaks. If it fails, the blob is as it was before, or the new one is there and the answer was lost.
	//
	// Errors:
	//   - fs.ErrExist: there is such a blob, and it should be written only if there is none
	//   - ErrContended: several wrote it at once, and the service wants it tried again
	//   - ErrFull: there is no room
	Put(ctx context.Context, name string, body io.ReaderAt, size int64, o PutOptions) (Info, error)

	// Delete removes a blob. That there is none is no error.
	Delete(ctx context.Context, name string) error

	// List returns the blobs whose names begin with prefix, in any order. A blob that comes or goes meanwhile may be
	// among them or not. After an error there is nothing more.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]

	// SignedURL returns a URL that gives a blob to everybody for a while. Whether there is such a blob is not looked at.
	//
	// Errors:
	//   - errors.ErrUnsupported: this kind of bucket, or of credentials, has no such URLs
	SignedURL(ctx context.Context, name string, life time.Duration) (string, error)

	// SignedPut returns a request that puts a blob, of size bytes and if there is none of that name, for everybody who has it and for a while.
	//
	// Errors:
	//   - errors.ErrUnsupported: this kind of bucket, or of credentials, has no such requests
	SignedPut(ctx context.Context, name string, size int64, life time.Duration) (SignedRequest, error)

	// Copy writes a blob with the bytes of another one, which stay where they are, if that has an ETag still; else it fails. The size of
	// what it returns may be 0.
	//
	// Errors:
	//   - fs.ErrNotExist: there is no such other blob
	//   - errors.ErrUnsupported: this kind of bucket does not copy
	Copy(ctx context.Context, from, etag, name string, o PutOptions) (Info, error)

	// Close ends the use of the bucket.
	Close() error
}

// Bytes are those of a blob that is on its way in.
type Bytes interface {
	io.Reader
	io.ReaderAt
	io.Closer
}

// SignedRequest is a request to a service by somebody who has no credentials. It is as good as them for what it does: it is not to be logged.
type SignedRequest struct {
	URL    string      `json:"url"`
	Header http.Header `json:"header,omitempty"`
}

// Sweeper is a [Bucket] in which uploads that broke off leave parts that are no blobs, and take room.
type Sweeper interface {
	// Sweep removes the parts of uploads below prefix that began before a time.
	Sweep(ctx context.Context, prefix string, before time.Time) error
}

// Sweep is that of a [Sweeper]; of other buckets there is nothing to remove.
func Sweep(ctx context.Context, b Bucket, prefix string, before time.Time) error {
	if s, ok := b.(Sweeper); ok {
		return s.Sweep(ctx, prefix, before)
	}
	return nil
}

// Info is what a bucket knows of a blob.
type Info struct {
	Name    string
	Size    int64 // bytes
	ModTime time.Time
	ETag    string // another one when the blob has changed; "" if it is not known
	MD5     []byte // of the bytes; nil if it is not known
	State   State  // in a directory
}

// State is what the system says of a file beside its size and the time that programs set: another one when its bytes may be others.
type State struct {
	Inode   uint64 // 0: not known
	Changed int64  // when the file was changed in any way, in nanoseconds; 0: not known
}

// Version tells one blob from another one, and from itself with other bytes.
type Version struct {
	ETag  string
	State State
}

// Version returns that of the blob.
func (i Info) Version() Version { return Version{i.ETag, i.State} }

// PutOptions say how a blob is written. The zero value is ready.
type PutOptions struct {
	IfAbsent    bool   // only if there is no such blob
	ContentType string // for clients of a signed URL
	Disposition string // Content-Disposition, for clients of a signed URL
}

// PartSize is the size of the parts that large blobs are sent in where a service takes parts, in bytes. The ETag that S3
// makes of an upload depends on it.
const PartSize = 8 << 20

// Errors of a [Bucket] beside those of io/fs, for errors.Is.
var (
	ErrContended = errors.New("contended by others")
	ErrFull      = errors.New("no room left in the bucket")
)

// ServiceError is what a service answered instead of doing what it was asked to. By errors.Is it is what its status
// and its code mean: fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, ErrContended or ErrFull. [FaultOf] tells more.
type ServiceError struct {
	Status  int    // of HTTP
	Code    string // as the service names it; may be ""
	Message string // in its own words
	Fault   Fault  // that the driver knows the code to stand for; "": what Is says
}

// Error implements error.
func (e *ServiceError) Error() string {
	return fmt.Sprintf("the service answers %d %s: %s", e.Status, e.Code, e.Message)
}

// Is implements the interface of errors.Is.
func (e *ServiceError) Is(target error) bool {
	switch e.Code {
	case "QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded":
		return target == ErrFull
	case "ConditionalRequestConflict", "OperationAborted":
		return target == ErrContended
	case "BlobAlreadyExists":
		return target == fs.ErrExist
	}
	if e.Fault.Lasting() && e.Fault != NoBucket { // there are services that say 404 of a key that they do not know
		return target == fs.ErrPermission
	}
	switch e.Status {
	case 401, 403:
		return target == fs.ErrPermission
	case 404:
		return target == fs.ErrNotExist
	case 412:
		return target == fs.ErrExist
	case 507:
		return target == ErrFull
	}
	return false
}

// PutBytes writes a small blob.
func PutBytes(ctx context.Context, b Bucket, name string, data []byte, o PutOptions) error {
	_, err := b.Put(ctx, name, bytes.NewReader(data), int64(len(data)), o)
	return err
}

// ReadAll returns the bytes of a blob of at most limit bytes.
func ReadAll(ctx context.Context, b Bucket, name string, limit int64) ([]byte, error) {
	data, _, err := Read(ctx, b, name, limit)
	return data, err
}

// Read returns the bytes of a blob of at most limit bytes, and what is known of it.
func Read(ctx context.Context, b Bucket, name string, limit int64) ([]byte, Info, error) {
	body, info, err := b.Open(ctx, name, 0)
	if err != nil {
		return nil, info, err
	}
	defer body.Close()
	if info.Size > limit {
		return nil, info, fmt.Errorf("%s has %d bytes, more than %d", name, info.Size, limit)
	}
	data, err := io.ReadAll(io.LimitReader(body, limit))
	if err == nil && int64(len(data)) != info.Size {
		err = io.ErrUnexpectedEOF
	}
	return data, info, err
}

// IgnoreAbsent returns err unless it says that there is no such blob.
func IgnoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Plain is the part of a [Bucket] that nobody else reaches, and that does not copy.
type Plain struct{}

var errUnsigned = fmt.Errorf("this kind of bucket has no signed URLs: %w", errors.ErrUnsupported)

// SignedURL implements [Bucket].
func (Plain) SignedURL(context.Context, string, time.Duration) (string, error) {
	return "", errUnsigned
}

// SignedPut implements [Bucket].
func (Plain) SignedPut(context.Context, string, int64, time.Duration) (SignedRequest, error) {
	return SignedRequest{}, errUnsigned
}

// Copy implements [Bucket].
func (Plain) Copy(context.Context, string, string, string, PutOptions) (Info, error) {
	return Info{}, fmt.Errorf("this kind of bucket does not copy: %w", errors.ErrUnsupported)
}
