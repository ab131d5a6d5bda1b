package buildcache

import (
	"sync"
	"time"
)

// breaker leaves a remote level alone for a while that has failed several times in a row.
type breaker struct {
	pause time.Duration
	now   func() time.Time

	mu       sync.Mutex // guards what follows
	failures int        // since the last success
	until    time.Time
}

// allow reports whether the remote level may be asked. After a pause one caller is
// let through to find out.
func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < maxFailures {
		return true
	}
	now := b.now()
	if now.Before(b.until) {
		return false
	}
	b.until = now.Add(b.pause)
	return true
}

// note takes the result of an exchange and reports whether it opened the breaker.
func (b *breaker) note(err error) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.failures = 0
		return false
	}
	b.failures++
	if b.failures >= maxFailures {
		b.until = b.now().Add(b.pause)
	}
	return b.failures == maxFailures
}

// open reports whether the remote level is left alone now.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= maxFailures && b.now().Before(b.until)
}
