package bucket

import (
	"context"

	"gocloud.dev/blob"
)

// Dial opens the bucket of a URL for other things than binaries. Nothing is sent yet. It uses URL,
// Logger and Patience of cfg. A URL that means nothing is an error of kind Invalid.
func Dial(ctx context.Context, cfg Config) (*blob.Bucket, error) {
	s := newStore(cfg)
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s.bucket, nil
}
