package buildcache

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"k6x/cache/blob"
	"k6x/cache/bucket"
)

// Store is a remote level: objects under names, "packs/…" and "index/…", that are written once and
// never change. Names are safe as paths. Methods may be called concurrently.
type Store interface {
	// List returns the objects whose names begin with prefix; of packs only where it can. After an error there is nothing more.
	List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error]
	// Read returns the bytes of an object.
	//
	// Errors:
	//   - fs.ErrNotExist: there is no such object
	Read(ctx context.Context, name string) (io.ReadCloser, error)
	// Write writes an object, for as long as which the packs that it needs have to be kept.
	Write(ctx context.Context, name string, body []byte, needs []packed) error
	// Delete removes an object; that there is none, or that a pack goes by itself once no index needs it, is no error.
	Delete(ctx context.Context, name string) error
	// Close ends the use of the store.
	Close() error
}

// maxListed bounds a listing.
const maxListed = 100_000

// listNames returns the names of the objects that begin with prefix.
func listNames(ctx context.Context, remote Store, prefix string) (names []string, err error) {
	for info, err := range remote.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if names = append(names, info.Name); len(names) > maxListed {
			return nil, fmt.Errorf("more than %d objects below %s", maxListed, prefix)
		}
	}
	return names, nil
}

// patience is how long a remote level may take for one answer.
const patience = 30 * time.Second

// OpenStore opens a remote level; nothing is sent yet. Its URL is that of a bucket, as for the binaries of a service, such as
// s3://name?region=eu-west-1&prefix=go, gs://name, azblob://name, file:///dir or mem://; or oci://host/repository of a registry, with
// ?insecure=true for one without TLS. Credentials come from the environment: those of the provider, or those of docker login. A URL that means
// nothing is an error of kind Invalid.
func OpenStore(ctx context.Context, url string) (Store, error) {
	if strings.HasPrefix(url, "oci://") {
		return openRegistry(url)
	}
	b, err := bucket.Dial(ctx, url, patience)
	if err != nil {
		return nil, err
	}
	return bucketStore{b}, nil
}

// bucketStore is a remote level in a bucket.
type bucketStore struct{ blob.Bucket }

func (b bucketStore) Read(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, err := b.Open(ctx, name, 0)
	return body, err
}

func (b bucketStore) Write(ctx context.Context, name string, body []byte, _ []packed) error {
	return blob.PutBytes(ctx, b.Bucket, name, body, blob.PutOptions{ContentType: "application/zstd"})
}
