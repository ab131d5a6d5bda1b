package blob

import (
	"context"
	"io"
	"iter"
	"time"
)

// Around returns a bucket whose exchanges run within another function, which may do more before and after, or something else. It gets the
// method (open, stat, put, copy, delete, list or sign) and the name of the blob, or the prefix of a list. A list is one exchange until its caller has all
// that it wants.
func Around(b Bucket, run func(ctx context.Context, method, name string, exchange func() error) error) Bucket {
	return &around{b, run}
}

type around struct {
	Bucket
	run func(ctx context.Context, method, name string, exchange func() error) error
}

func (a *around) Open(ctx context.Context, name string, offset int64) (body io.ReadCloser, info Info, err error) {
	err = a.run(ctx, "open", name, func() (err error) {
		body, info, err = a.Bucket.Open(ctx, name, offset)
		return err
	})
	if err != nil && body != nil {
		body.Close()
		body = nil
	}
	return body, info, err
}

func (a *around) Stat(ctx context.Context, name string) (info Info, err error) {
	err = a.run(ctx, "stat", name, func() (err error) {
		info, err = a.Bucket.Stat(ctx, name)
		return err
	})
	return info, err
}

func (a *around) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o PutOptions) (info Info, err error) {
	err = a.run(ctx, "put", name, func() (err error) {
		info, err = a.Bucket.Put(ctx, name, body, size, o)
		return err
	})
	return info, err
}

func (a *around) Delete(ctx context.Context, name string) error {
	return a.run(ctx, "delete", name, func() error { return a.Bucket.Delete(ctx, name) })
}

func (a *around) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		stopped := false
		err := a.run(ctx, "list", prefix, func() error {
			for info, err := range a.Bucket.List(ctx, prefix) {
				if err != nil {
					return err
				}
				if stopped = !yield(info, nil); stopped {
					break
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Info{}, err)
		}
	}
}

func (a *around) SignedURL(ctx context.Context, name string, life time.Duration) (url string, err error) {
	err = a.run(ctx, "sign", name, func() (err error) {
		url, err = a.Bucket.SignedURL(ctx, name, life)
		return err
	})
	return url, err
}

func (a *around) SignedPut(ctx context.Context, name string, size int64, life time.Duration) (request SignedRequest, err error) {
	err = a.run(ctx, "sign", name, func() (err error) {
		request, err = a.Bucket.SignedPut(ctx, name, size, life)
		return err
	})
	return request, err
}

func (a *around) Copy(ctx context.Context, from, etag, name string, o PutOptions) (info Info, err error) {
	err = a.run(ctx, "copy", name, func() (err error) {
		info, err = a.Bucket.Copy(ctx, from, etag, name, o)
		return err
	})
	return info, err
}

// Sweep implements [Sweeper].
func (a *around) Sweep(ctx context.Context, prefix string, before time.Time) error {
	return Sweep(ctx, a.Bucket, prefix, before)
}
