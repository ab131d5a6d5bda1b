package builder

import (
	"context"
	"sync"
)

// background says of a build that nobody waits for it, until somebody does.
type background struct {
	once   sync.Once
	wanted chan struct{} // closed when somebody waits
	client string        // who does; set before wanted is closed
}

type backgroundKey struct{}

// WithBackground returns a ctx whose builds have nobody who waits for them: [Limit] lets them
// wait until all others have a slot. A build that a caller without this asks for as well
// becomes one of that caller's, see [Dedup].
func WithBackground(ctx context.Context) context.Context {
	return context.WithValue(ctx, backgroundKey{}, &background{wanted: make(chan struct{})})
}

// Background reports whether nobody waits for the builds of ctx.
func Background(ctx context.Context) bool {
	b, ok := ctx.Value(backgroundKey{}).(*background)
	return ok && !b.isWanted()
}

// promotable returns a ctx for one build, and what makes it a build that client waits for. It
// may be called often; the first client counts.
func promotable(ctx context.Context) (context.Context, func(client string)) {
	if !Background(ctx) {
		return ctx, func(string) {}
	}
	own := WithBackground(ctx) // as the other builds of the same caller stay what they are
	return own, func(client string) { promote(own, client) }
}

func promote(ctx context.Context, client string) {
	if b, ok := ctx.Value(backgroundKey{}).(*background); ok {
		b.once.Do(func() {
			b.client = client
			close(b.wanted)
		})
	}
}

// wanted is closed when somebody waits for the build of ctx; nil if it never was in the background.
func wanted(ctx context.Context) <-chan struct{} {
	if b, ok := ctx.Value(backgroundKey{}).(*background); ok {
		return b.wanted
	}
	return nil
}

func (b *background) isWanted() bool {
	select {
	case <-b.wanted:
		return true
	default:
		return false
	}
}
