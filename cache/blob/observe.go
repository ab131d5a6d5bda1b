package blob

import (
	"context"
	"slices"
	"time"
)

// Methods are the exchanges that an [Observer] gets to know of.
var Methods = []string{"open", "stat", "put", "copy", "delete", "list"}

// Observer takes what came of an exchange with a bucket: which of [Methods] it was, how long it took (an open: until there are bytes
// to read) and its error. It is called by several at once, and must return soon.
type Observer func(method string, took time.Duration, err error)

// Observe returns a bucket whose exchanges an observer gets to know of; b itself if that is nil.
func Observe(b Bucket, observer Observer) Bucket {
	if observer == nil {
		return b
	}
	return Around(b, func(_ context.Context, method, _ string, exchange func() error) error {
		start := time.Now()
		err := exchange()
		if slices.Contains(Methods, method) {
			observer(method, time.Since(start), err)
		}
		return err
	})
}
