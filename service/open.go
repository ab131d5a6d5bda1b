package service

import (
	"context"
	"time"

	"k6x"
	"k6x/cache"
)

// describe returns an entry without Body for what store has, if none is needed and that is in memory; else nil.
func describe(ctx context.Context, store cache.Store, key string, bodyless bool) *cache.Entry {
	if limited, ok := store.(interface {
		Describe(ctx context.Context, key string) *cache.Entry
	}); ok && bodyless {
		return limited.Describe(ctx, key)
	}
	return nil
}

// openWait is how long a request waits until others have their binaries, if too many are being sent. Half as many as these may wait: they
// take connections, and some have to be left for requests that need no binary.
const openWait = 10 * time.Second

// awaitSending takes a place in s.sending.
func (s *Service) awaitSending(ctx context.Context) error {
	busy := k6x.Errorf(k6x.Busy, "this service sends %d binaries already, which is all that it may have open", cap(s.sending)).WithRetry(openWait)
	select {
	case s.sending <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return busy
	}
	wait := time.NewTimer(openWait)
	defer wait.Stop()
	select {
	case s.sending <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return busy
	}
}

// open opens the binary under key to be sent. Errors are those of the store; Busy if too many are open.
func (s *Service) open(ctx context.Context, key string) (*cache.Entry, error) {
	if s.sending == nil {
		return s.cfg.Store.Open(ctx, key)
	}
	if err := s.awaitSending(ctx); err != nil {
		return nil, err
	}
	entry, err := s.cfg.Store.Open(ctx, key)
	if err != nil {
		<-s.sending
		return nil, err
	}
	release := entry.Release
	entry.Release = func() {
		if release != nil {
			release()
		}
		<-s.sending
	}
	return entry, nil
}
