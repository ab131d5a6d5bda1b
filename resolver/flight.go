package resolver

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
)

// flight runs one function for each key at a time, however many ask.
type flight[T any] struct {
	group singleflight.Group
	most  time.Duration // how long one run may take
}

// do returns what fn returns, or the error of ctx if that ends earlier. Fn goes on then:
// others may wait for it, and what it finds is kept.
func (f *flight[T]) do(ctx context.Context, key string, fn func(context.Context) (T, error)) (T, error) {
	done := f.group.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.most)
		defer cancel()
		return fn(ctx)
	})
	var none T
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case result := <-done:
		if result.Err != nil {
			return none, result.Err
		}
		return result.Val.(T), nil
	}
}
