package blob

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"
)

// prefixed is a part of a bucket: the blobs whose names begin with prefix, without it.
type prefixed struct {
	bucket Bucket
	prefix string
}

var _ Bucket = (*prefixed)(nil)

// Prefixed returns the part of a bucket below prefix.
func Prefixed(b Bucket, prefix string) Bucket { return &prefixed{b, prefix} }

func (p *prefixed) Open(ctx context.Context, name string, offset int64) (io.ReadCloser, Info, error) {
	body, info, err := p.bucket.Open(ctx, p.prefix+name, offset)
	return body, p.cut(info), err
}

func (p *prefixed) Stat(ctx context.Context, name string) (Info, error) {
	info, err := p.bucket.Stat(ctx, p.prefix+name)
	return p.cut(info), err
}

func (p *prefixed) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o PutOptions) (Info, error) {
	info, err := p.bucket.Put(ctx, p.prefix+name, body, size, o)
	return p.cut(info), err
}

func (p *prefixed) Delete(ctx context.Context, name string) error {
	return p.bucket.Delete(ctx, p.prefix+name)
}

func (p *prefixed) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for info, err := range p.bucket.List(ctx, p.prefix+prefix) {
			if !yield(p.cut(info), err) {
				return
			}
		}
	}
}

func (p *prefixed) SignedURL(ctx context.Context, name string, life time.Duration) (string, error) {
	return p.bucket.SignedURL(ctx, p.prefix+name, life)
}

func (p *prefixed) SignedPut(ctx context.Context, name string, size int64, life time.Duration) (SignedRequest, error) {
	return p.bucket.SignedPut(ctx, p.prefix+name, size, life)
}

func (p *prefixed) Copy(ctx context.Context, from, etag, name string, o PutOptions) (Info, error) {
	info, err := p.bucket.Copy(ctx, p.prefix+from, etag, p.prefix+name, o)
	return p.cut(info), err
}

func (p *prefixed) Sweep(ctx context.Context, prefix string, before time.Time) error {
	return Sweep(ctx, p.bucket, p.prefix+prefix, before)
}

func (p *prefixed) Close() error { return p.bucket.Close() }

func (p *prefixed) cut(info Info) Info {
	info.Name = strings.TrimPrefix(info.Name, p.prefix)
	return info
}
