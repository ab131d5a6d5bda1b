package builder

import (
	"context"
	"errors"

	"k6x"
)

// Leaser gives the right to build a key to one of several services; *bucket.Leases of package cache/bucket is one.
type Leaser interface {
	// Acquire waits for the right to build key. It returns the record if another service
	// made the artifact meanwhile, else release, to be called once with a failure
	// that others need not try as well, or nil.
	Acquire(ctx context.Context, key string) (made *k6x.Artifact, release func(failed *k6x.Error), err error)
}

// leased builds under a lease. Another service's artifact or lasting failure becomes its own.
//
// A job in the background waits for its turn before it takes the lease, and is a job like others
// once it has it: a client of another service may wait for that lease.
func (l *Limit) leased(ctx context.Context, job Job, t *ticket) (artifact k6x.Artifact, err error) {
	if err := l.room(ctx, t); err != nil {
		return k6x.Artifact{}, err
	}
	made, release, err := l.leases.Acquire(ctx, job.Recipe.Key())
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
	l.promote(t, "")
	return l.run(ctx, job, t)
}
