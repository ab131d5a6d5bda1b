package blob

import (
	"context"
	"io"
	"iter"
	"time"
)

// Methods are the exchanges that an [Observer] gets to know of.
var Methods = []string{"open", "stat", "put", "delete", "list"}

// Observer takes what came of an exchange with a bucket: which of [Methods] it was, how long it took (an open: until there are bytes
// to read) and its error. It is called by several at once, and must return soon.
type Observer func(method string, took time.Duration, err error)

// Observe returns a bucket whose exchanges an observer gets to know of; b itself if that is nil.
func Observe(b Bucket, observer Observer) Bucket {
	if observer == nil {
		return b
	}
	return &observed{b, observer}
}

type observed struct {
	Bucket
	observer Observer
}

func (o *observed) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, Info, error) {
	start := time.Now()
	body, info, err := o.Bucket.Open(ctx, name, offset)
	o.observer("open", time.Since(start), err)
	return body, info, err
}

// Sweep implements [Sweeper].
func (o *observed) Sweep(ctx context.Context, prefix string, before time.Time) error {
	return Sweep(ctx, o.Bucket, prefix, before)
}

func (o *observed) Stat(ctx context.Context, name string) (Info, error) {
	start := time.Now()
	info, err := o.Bucket.Stat(ctx, name)
	o.observer("stat", time.Since(start), err)
	return info, err
}

func (o *observed) Put(ctx context.Context, name string, body io.ReaderAt, size int64, options PutOptions) (Info, error) {
	start := time.Now()
	info, err := o.Bucket.Put(ctx, name, body, size, options)
	o.observer("put", time.Since(start), err)
	return info, err
}

func (o *observed) Delete(ctx context.Context, name string) error {
	start := time.Now()
	err := o.Bucket.Delete(ctx, name)
	o.observer("delete", time.Since(start), err)
	return err
}

// List is observed until its caller has all that it wants.
func (o *observed) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		start := time.Now()
		var failed error
		for info, err := range o.Bucket.List(ctx, prefix) {
			if failed = err; !yield(info, err) {
				break
			}
		}
		o.observer("list", time.Since(start), failed)
	}
}
