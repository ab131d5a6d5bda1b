package buildcache

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"k6x/cache/blob"
	"k6x/cache/bucket"
)

// bucketStore is a far level in a bucket.
type bucketStore struct{ bucket blob.Bucket }

var _ Store = (*bucketStore)(nil)

func openBucket(ctx context.Context, url string, patience time.Duration, log *slog.Logger) (Store, error) {
	b, err := bucket.Dial(ctx, bucket.Config{URL: url, Logger: log, Patience: patience})
	if err != nil {
		return nil, err
	}
	return &bucketStore{b}, nil
}

func (b *bucketStore) List(ctx context.Context, prefix string) (names []string, err error) {
	for info, err := range b.bucket.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if names = append(names, info.Name); len(names) > maxListed {
			return nil, fmt.Errorf("more than %d objects below %s", maxListed, prefix)
		}
	}
	return names, nil
}

func (b *bucketStore) listOlder(ctx context.Context, prefix string, before time.Time, each func(name string)) error {
	for info, err := range b.bucket.List(ctx, prefix) {
		if err != nil {
			return err
		}
		if info.ModTime.Before(before) {
			each(info.Name)
		}
	}
	return nil
}

func (b *bucketStore) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, err := b.bucket.Open(ctx, name, 0)
	return body, err
}

func (b *bucketStore) Put(ctx context.Context, name string, body []byte, _ []Object) error {
	return blob.PutBytes(ctx, b.bucket, name, body, blob.PutOptions{ContentType: "application/zstd"})
}

func (b *bucketStore) Remove(ctx context.Context, name string) error {
	return b.bucket.Delete(ctx, name)
}

func (b *bucketStore) Close() error { return b.bucket.Close() }
