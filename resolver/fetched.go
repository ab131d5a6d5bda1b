package resolver

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"k6x"
	"k6x/internal/gomod"
)

const (
	renewPause = 30 * time.Second // before what could not be renewed is asked for again
	stale      = time.Hour        // how long an old value does while it is being renewed
	fetchMax   = 6 * time.Minute  // for one fetch with all its hops
	earlyPause = time.Second      // before a value that is not due is asked for again; twice that before the next time, and so on
)

// fetched keeps what was fetched for a key: in memory, and on disk as far as load and save see to that. A key is
// fetched once, however many ask for it. While a value is renewed, and when that fails, the old one stays in use.
type fetched[K comparable, V any] struct {
	load  func(K) (value[V], bool)            // what is on disk
	fetch func(context.Context, K) (V, error) // errors are kept only if they satisfy [gomod.Definite]
	save  func(K, value[V])                   // to disk, what takes the place of what was there; nil: fetch does, or nothing is kept there
	life  time.Duration                       // of a value, which is a list of versions; 0: it never changes
	short time.Duration                       // life of an error
	log   *slog.Logger

	values   *lru.Cache[K, value[V]]
	group    singleflight.Group
	renewing sync.Map // keys of old values that are in use while they are renewed
}

// value is what was fetched, or the definite error that came instead of it.
type value[V any] struct {
	value   V
	err     error
	fetched time.Time
	due     time.Time // when it is to be renewed; zero: never
	asked   time.Time // the last try
	early   int       // how often it was asked for before it was due
}

func (v value[V]) isDue() bool { return !v.due.IsZero() && !time.Now().Before(v.due) }

// get returns the value of a key. It fetches that even if ctx ends, when it returns the error of ctx.
func (f *fetched[K, V]) get(ctx context.Context, key K) (V, error) {
	v, ok := f.values.Get(key)
	switch {
	case ok && !v.isDue():
		return v.value, v.err
	case ok && v.err == nil && time.Since(v.due) < stale:
		if _, busy := f.renewing.LoadOrStore(key, true); !busy { // one waits for it, however many ask
			done := f.start(ctx, key)
			go func() {
				<-done
				f.renewing.Delete(key)
			}()
		}
		return v.value, nil
	}
	select {
	case <-ctx.Done():
		return v.value, ctx.Err()
	case result := <-f.start(ctx, key):
		return result.Val.(V), result.Err
	}
}

// renewed reports whether the value of a key was fetched since then; one that is due is asked for again, and, if early is set, one that
// is not: at once the first time, then less and less often.
func (f *fetched[K, V]) renewed(ctx context.Context, key K, since time.Time, early bool) bool {
	v, ok := f.values.Get(key)
	if early && ok && !v.due.IsZero() && !v.isDue() && v.fetched.Before(since) && time.Since(v.asked) >= time.Duration(v.early)*earlyPause {
		v.due, v.early = time.Now(), v.early+1
		f.values.Add(key, v)
	}
	if ok && v.isDue() {
		select {
		case <-ctx.Done():
		case <-f.start(ctx, key): // an error is logged
		}
		v, ok = f.values.Get(key)
	}
	return ok && !v.fetched.Before(since)
}

// start begins to fetch a value that is not due, unless that is under way.
func (f *fetched[K, V]) start(ctx context.Context, key K) <-chan singleflight.Result {
	return f.group.DoChan(fmt.Sprint(key), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchMax)
		defer cancel()
		v, err := f.renew(ctx, key)
		return v, err
	})
}

func (f *fetched[K, V]) renew(ctx context.Context, key K) (V, error) {
	old, ok := f.values.Get(key)
	if !ok {
		old, ok = f.load(key)
	}
	if ok && !old.isDue() {
		f.values.Add(key, old)
		return old.value, old.err
	}
	found, err := f.fetch(ctx, key)
	now := time.Now()
	v := value[V]{value: found, err: err, fetched: now, asked: now}
	if now.Sub(old.fetched) < f.short {
		v.early = old.early
	}
	switch {
	case err != nil && ok && (old.err == nil || f.life > 0 && !gomod.Definite(err)): // better than none
		f.log.Warn("the versions of a module cannot be renewed; the old list stays in use", "module", key, "since", old.fetched, "cause", k6x.AsError(err).Err)
		old.due, old.asked = now.Add(min(f.short, renewPause)), now
		f.values.Add(key, old)
		return old.value, old.err
	case err != nil && !gomod.Definite(err):
		return found, err
	case err != nil:
		v.due = now.Add(f.short)
	case f.life > 0:
		v.due = now.Add(f.life)
	}
	f.values.Add(key, v)
	if f.save != nil {
		f.save(key, v)
	}
	return found, err
}
