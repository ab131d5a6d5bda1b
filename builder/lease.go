package builder

import (
	"context"
	"errors"

	"k6x"
)

// leaser is what [Lease] needs of leases; *bucket.Leases of package cache/bucket is one.
type leaser interface {
	// Acquire waits for the right to build key. It returns the record if someone else
	// made the artifact meanwhile, else release, to be called once with a failure
	// that others need not try as well, or nil.
	Acquire(ctx context.Context, key string) (made *k6x.Artifact, release func(failed *k6x.Error), err error)
}

// Lease returns a builder that builds a key only while no other service does, of
// those that share the leases. Someone else's artifact or lasting failure becomes its own. It
// belongs between [Dedup] and [Limit]: nobody who waits for another service takes up a slot.
// What next is a limit of has to look into the store first, as [Keep] does.
//
// A build in the background waits for its turn before it takes the lease, and is a build like others
// once it has it: at another service somebody may wait for that lease.
func Lease(next *Limit, leases leaser) Builder { return &leased{next, leases} }

type leased struct {
	next   *Limit
	leases leaser
}

func (l *leased) Build(ctx context.Context, recipe k6x.Recipe) (artifact k6x.Artifact, err error) {
	if Rebuild(ctx) { // it changes nothing, and what others made or failed to make is what it is to check
		return l.next.Build(ctx, recipe)
	}
	if err := l.next.room(ctx); err != nil {
		return k6x.Artifact{}, err
	}
	made, release, err := l.leases.Acquire(ctx, recipe.Key())
	if err != nil {
		return k6x.Artifact{}, err
	}
	if made != nil {
		return *made, nil
	}
	defer func() { // also if next panics
		failed, ok := errors.AsType[*k6x.Error](err)
		if ok && !failed.Kind.Lasting() {
			failed = nil
		}
		release(failed)
	}()
	promote(ctx, Client(ctx))
	return l.next.Build(ctx, recipe)
}
