package bucket

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"k6x"
	"k6x/cache"
)

// LeaseConfig has the times of [Leases], on which all services on one bucket should agree, and
// what this service builds with.
type LeaseConfig struct {
	TTL      time.Duration // after how long without a change a holder counts as dead; 0: 15 s
	Renew    time.Duration // how often a holder changes its lease; 0: a third of TTL
	Poll     time.Duration // how often the bucket is listed while a build waits; 0: 250 ms
	NoteLife time.Duration // how long a failure is told to others; 0: 1 minute
	Of       string        // what the leases are of, for the log; "": a build
	Lost     string        // what happens if one is not renewed, for the log; "": another service may build the same

	// Limits are those of builds of this service, which differ from service to service. What another
	// could not build with lower ones is tried here.
	Limits k6x.Limits
}

// Leases say which of several services on one bucket may build a key, or that the service of a key lives. The lease of a key is the
// object leases/<key>/<n> with the highest n. It is taken by creating the first one; or the next one, if there is one whose holder
// is dead. It is given back by removing all of them, or by a note of why the build failed, which is removed with them. Its holder changes it every
// few seconds; it counts as dead for an observer that saw no change for TTL on its own
// clock, so that the clocks of different machines do not matter.
// A note that is without the first lease, as services of an earlier version leave it after they took over a lease, is not seen: that costs a build.
//
// A lease saves work; it keeps nothing right. A holder that lost its lease goes on, as the
// store is write-once.
type Leases struct {
	store *Store
	cfg   LeaseConfig

	listings singleflight.Group // of all leases, for those that wait; guards what follows
	states   map[string]state   // of the last one
	listed   time.Time          // when that began

	mu   sync.Mutex // guards seen
	seen map[string]sighting

	notes *lru.Cache[string, time.Time] // by mark: when a note was first seen here
}

// NewLeases returns the leases in the bucket of a store.
func NewLeases(store *Store, cfg LeaseConfig) *Leases {
	cfg.TTL = cmp.Or(cfg.TTL, 15*time.Second)
	cfg.Renew = cmp.Or(cfg.Renew, cfg.TTL/3)
	cfg.Poll = cmp.Or(cfg.Poll, 250*time.Millisecond)
	cfg.NoteLife = cmp.Or(cfg.NoteLife, time.Minute)
	cfg.Of, cfg.Lost = cmp.Or(cfg.Of, "a build"), cmp.Or(cfg.Lost, "another service may build the same")
	l := &Leases{store: store, cfg: cfg, seen: map[string]sighting{}}
	l.notes, _ = lru.New[string, time.Time](4096) // fails for a size below 1 only
	return l
}

// claim is what the object of a lease holds.
type claim struct {
	Holder string `json:"holder"` // random, for each lease another
	Count  int    `json:"count"`  // of renewals
}

// Acquire takes the lease of key and returns what gives it back, which has to be called once:
// with the error of the build if it would come again, which the services that wait then get,
// else with nil. While another has the lease, Acquire waits. If the artifact came to be
// meanwhile, its record is returned and no lease; if the other told of a failure that a build
// here would end with too, that failure is. An error of kind Unavailable says that the bucket does not answer.
func (l *Leases) Acquire(ctx context.Context, key string) (made *k6x.Artifact, release func(failed *k6x.Error), err error) {
	if err := check(ctx, key); err != nil {
		return nil, nil, err
	}
	// Mostly there is none, and that need not be asked.
	release, err = l.take(ctx, key, state{})
	if release != nil || err != nil {
		return nil, release, err
	}
	for waited := false; ; waited = true {
		now, err := l.look(ctx, key)
		if err != nil {
			return nil, nil, err
		}
		failed := l.failure(ctx, key, now)
		if !now.held() {
			if waited || failed != nil { // where the limits are higher, it may have been built since it failed
				artifact, err := l.store.Whole(ctx, key)
				if err == nil {
					return &artifact, nil, nil
				}
				if !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
					return nil, nil, err
				}
			}
			if failed != nil {
				return nil, nil, failed
			}
			release, err := l.take(ctx, key, now)
			if release != nil || err != nil {
				return nil, release, err
			}
		}
		if err := l.wait(ctx, key); err != nil {
			return nil, nil, err
		}
	}
}

// take tries to create the next lease; release is nil if another was faster.
func (l *Leases) take(ctx context.Context, key string, now state) (release func(*k6x.Error), err error) {
	mine := claim{Holder: rand.Text()}
	n := now.highest + 1
	name := leaseName(key, n)
	err = l.store.putOnce(ctx, name, mine.encode())
	if isTaken(err) {
		// Perhaps by this very write, the answer to which was lost.
		if taken, err := l.has(ctx, name, mine); !taken || err != nil {
			return nil, err
		}
	} else if err != nil {
		// It may be there all the same, and no service would renew it.
		go l.withdraw(name, mine)
		return nil, explain(ctx, err)
	}
	return l.hold(key, n, mine, now.names), nil
}

// has reports whether a lease is that of a claim.
func (l *Leases) has(ctx context.Context, name string, mine claim) (bool, error) {
	data, err := l.store.get(ctx, name, maxBinding)
	if isAbsent(err) {
		return false, nil
	}
	var there claim
	return err == nil && json.Unmarshal(data, &there) == nil && there.Holder == mine.Holder, err
}

// withdraw removes a lease that may have been taken here. One of another service stays.
func (l *Leases) withdraw(name string, mine claim) {
	if taken, _ := l.has(context.Background(), name, mine); taken {
		l.store.tidy(context.Background(), name)
	}
}

// hold renews a lease until release is called, which also removes the leases of the dead.
func (l *Leases) hold(key string, n int64, mine claim, dead []string) (release func(*k6x.Error)) {
	name := leaseName(key, n)
	ctx, cancel := context.WithCancel(context.Background())
	var renewing sync.WaitGroup
	renewing.Go(func() {
		tick := time.NewTicker(l.cfg.Renew)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			mine.Count++
			limited, end := context.WithTimeout(ctx, l.cfg.TTL)
			if err := l.store.put(limited, name, mine.encode()); err != nil && ctx.Err() == nil {
				l.store.logger.Warn("lease of "+l.cfg.Of+" cannot be renewed; "+l.cfg.Lost, "key", key, "error", cause(err))
			}
			end()
		}
	})
	return func(failed *k6x.Error) {
		cancel()
		renewing.Wait() // or it would come back after it was removed
		if failed == nil || !l.tell(key, n, dead, failed) {
			l.tidy(dead)
			l.giveBack(name)
		}
	}
}

// tidy removes the leases of the dead. The first of all leases is among them, so that no service takes it before.
func (l *Leases) tidy(dead []string) {
	for _, name := range dead {
		l.store.tidy(context.Background(), name)
	}
}

// giveBack removes a lease that was held here. One that cannot be removed is not waited for here.
func (l *Leases) giveBack(name string) {
	err := l.store.remove(context.Background(), name)
	if err == nil {
		return
	}
	l.store.logger.Warn("lease of "+l.cfg.Of+" cannot be removed; others wait until it counts as dead", "name", name, "error", cause(err))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[name] = sighting{given: true, last: time.Now()}
}

func (c claim) encode() []byte {
	data, _ := json.Marshal(c) // of a text and a number
	return data
}

func leaseName(key string, n int64) string { return fmt.Sprintf("%s%s/%d", leases, key, n) }
