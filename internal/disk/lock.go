package disk

import (
	"context"
	"errors"
	"time"

	"github.com/gofrs/flock"
)

// poll is how often a lock is tried, as a wait of the operating system for one cannot be interrupted.
const poll = 25 * time.Millisecond

// Lock waits for the lock of a file, which is made if it is missing, until ctx ends. A shared lock is held with others that are shared. It
// ends with the process, or when it is closed.
func Lock(ctx context.Context, name string, shared bool, options ...flock.Option) (*flock.Flock, error) {
	lock := flock.New(name, options...)
	take := lock.TryLockContext
	if shared {
		take = lock.TryRLockContext
	}
	if _, err := take(ctx, poll); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// TryLock is [Lock] without a wait: nil if another one holds the lock.
func TryLock(name string, shared bool, options ...flock.Option) (*flock.Flock, error) {
	lock := flock.New(name, options...)
	take := lock.TryLock
	if shared {
		take = lock.TryRLock
	}
	ok, err := take()
	if err != nil || !ok {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}
