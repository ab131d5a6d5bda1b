package buildcache

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"k6x/cache/bucket"
)

// bucketStore is a far level in a bucket.
type bucketStore struct{ bucket *blob.Bucket }

var _ Store = (*bucketStore)(nil)

func openBucket(ctx context.Context, url string, patience time.Duration, log *slog.Logger) (Store, error) {
	b, err := bucket.Dial(ctx, bucket.Config{URL: url, Logger: log, Patience: patience})
	if err != nil {
		return nil, err
	}
	return &bucketStore{b}, nil
}

func (b *bucketStore) List(ctx context.Context, prefix string) (names []string, err error) {
	err = b.list(ctx, prefix, func(o *blob.ListObject) error {
		if names = append(names, o.Key); len(names) > maxListed {
			return fmt.Errorf("more than %d objects below %s", maxListed, prefix)
		}
		return nil
	})
	return names, err
}

func (b *bucketStore) listOlder(ctx context.Context, prefix string, before time.Time, each func(name string)) error {
	return b.list(ctx, prefix, func(o *blob.ListObject) error {
		if o.ModTime.Before(before) {
			each(o.Key)
		}
		return nil
	})
}

func (b *bucketStore) list(ctx context.Context, prefix string, each func(*blob.ListObject) error) error {
	for token := blob.FirstPageToken; len(token) > 0; {
		page, next, err := bucket.ListPage(ctx, b.bucket, token, 1000, prefix)
		if err != nil {
			return err
		}
		for _, object := range page {
			if err := each(object); err != nil {
				return err
			}
		}
		token = next
	}
	return nil
}

func (b *bucketStore) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := b.bucket.NewReader(ctx, name, nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, notThere(err)
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (b *bucketStore) Put(ctx context.Context, name string, body []byte, _ []Object) error {
	return b.bucket.WriteAll(ctx, name, body, &blob.WriterOptions{ContentType: "application/zstd", DisableContentTypeDetection: true})
}

func (b *bucketStore) Remove(ctx context.Context, name string) error {
	err := b.bucket.Delete(ctx, name)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}

func (b *bucketStore) Close() error { return b.bucket.Close() }
