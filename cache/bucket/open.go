package bucket

import (
	"context"
	"errors"
	"net/url"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/dial"
)

const urlHint = "Write s3://BUCKET?region=REGION, with endpoint=URL and s3ForcePathStyle=true for other servers than that of AWS, " +
	"or gs://BUCKET, azblob://CONTAINER, file:///DIRECTORY or mem://. Credentials come from the environment, as the tools of the provider take them."

// ErrURL is the cause of an error, for errors.Is, of a URL that means nothing.
var ErrURL = errors.New("the URL is wrong")

// Dial opens the bucket of a URL for other things than binaries. Nothing is sent yet. The bucket may take patience for one answer. A URL that means
// nothing is an error of kind Invalid.
func Dial(ctx context.Context, address string, patience time.Duration) (blob.Bucket, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		// The URL is not repeated: there may be a password in it.
		return nil, k6x.Errorf(k6x.Invalid, "the URL of the store is not one of a bucket").WithHint(urlHint).WithCause(ErrURL)
	}
	b, err := dial.Open(ctx, u, patience)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the store at %s://%s cannot be opened: %v", u.Scheme, u.Host, hide(err)).WithHint(urlHint).WithCause(ErrURL)
	}
	return b, nil
}
