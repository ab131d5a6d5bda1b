package bucket

import (
	"context"
	"errors"
	"net/url"

	"k6x"
	"k6x/cache/blob"
	"k6x/cache/blob/dial"
)

const urlHint = "Write s3://BUCKET?region=REGION, with endpoint=URL and s3ForcePathStyle=true for other servers than that of AWS, " +
	"or gs://BUCKET, azblob://CONTAINER, file:///DIRECTORY or mem://. Credentials come from the environment, as the tools of the provider take them."

// ErrURL is the cause of an error, for errors.Is, of a URL that means nothing.
var ErrURL = errors.New("the URL is wrong")

// Dial opens the bucket of a URL for other things than binaries. Nothing is sent yet. It uses URL
// and Patience of cfg. A URL that means nothing is an error of kind Invalid.
func Dial(ctx context.Context, cfg Config) (blob.Bucket, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme == "" || u.User != nil || u.Opaque != "" || u.Fragment != "" {
		// The URL is not repeated: there may be a password in it.
		return nil, k6x.Errorf(k6x.Invalid, "the URL of the store is not one of a bucket").WithHint(urlHint).WithCause(ErrURL)
	}
	b, err := dial.Open(ctx, u, cfg.withDefaults().Patience)
	if err != nil {
		return nil, k6x.Errorf(k6x.Invalid, "the store at %s://%s cannot be opened: %v", u.Scheme, u.Host, hide(err)).WithHint(urlHint).WithCause(ErrURL)
	}
	return b, nil
}
