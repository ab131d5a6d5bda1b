package history

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"k6x"
	"k6x/cache/blob"
	"k6x/event"
)

const (
	maxWaiting = 100         // clients that wait for builds that are not known
	listed     = 10          // looks from one listing of all builds to the next
	liveTime   = time.Minute // that one thing may take
)

// Leaser says which services live; *bucket.Leases of package cache/bucket is one.
type Leaser interface {
	Acquire(ctx context.Context, key string) (made *k6x.Artifact, release func(failed *k6x.Error), err error)
	Held(ctx context.Context, key string) (bool, error)
}

// LiveConfig says what a [Live] shows, and where.
type LiveConfig struct {
	Bucket   blob.Bucket // that the services share
	Leases   Leaser
	Recorder *Recorder     // of the builds of this service
	Events   *event.Stream // of these
	Every    time.Duration // how often a build is written, and looked for; 0: a second
	Logger   *slog.Logger
}

// Live shows the builds that run at one of several services on a bucket at the others. A service writes the events of each build that does not
// end at once as numbered blobs, at most one a second and fewer with time, and holds a lease as long as there are some. Another service reads them
// for all clients together that follow the build there. Once the lease is not renewed any more, one of the others ends the builds, with what
// their events tell as the result. A nil one knows of none.
type Live struct {
	cfg      LiveConfig
	bucket   layout
	lease    string // the key of that of this service
	own      own
	others   others
	followed followed

	looks   singleflight.Group // for heads, by id
	waiting chan struct{}      // has an element for each client that waits for a build
}

// NewLive returns one that shows builds while it runs.
func NewLive(cfg LiveConfig) *Live {
	cfg.Every = cmp.Or(cfg.Every, time.Second)
	name := sha256.Sum256([]byte(rand.Text()))
	return &Live{cfg: cfg, bucket: layout{cfg.Bucket}, lease: hex.EncodeToString(name[:]), waiting: make(chan struct{}, maxWaiting),
		own:      own{shown: make(map[string]*shown), ended: make(map[string]bool)},
		followed: followed{builds: make(map[string]*following)}}
}

// Run shows builds, and ends those of services that have died, until ctx ends.
func (l *Live) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { l.each(ctx, listed*l.cfg.Every, "builds that other services left cannot be ended", l.sweep) })
	work.Go(func() { l.each(ctx, meeting*l.cfg.Every, "other services cannot be told that this one lives", l.meet) })
	work.Go(func() { l.each(ctx, l.cfg.Every, "builds that other services were shown cannot be removed", l.clean) })
	l.each(ctx, l.cfg.Every, "builds that run cannot be shown to other services", l.show)
}

// each calls do again and again until ctx ends. Of errors in a row it logs the first.
func (l *Live) each(ctx context.Context, every time.Duration, what string, do func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failing := false; ; {
		limited, cancel := context.WithTimeout(ctx, liveTime)
		err := do(limited)
		cancel()
		if ctx.Err() == nil && err != nil && !failing {
			l.cfg.Logger.Warn(what+"; it is tried again", "error", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close removes what this service shows, as its results are in the history. Run has ended. What cannot be removed another service removes.
func (l *Live) Close(ctx context.Context) {
	if l == nil || l.own.release == nil {
		return
	}
	for id := range l.own.shown {
		l.remove(id)
	}
	if err := l.clean(ctx); err != nil {
		l.cfg.Logger.Warn("builds that other services are shown cannot be removed", "error", err)
	}
	giveBack(ctx, l.own.release)
}

// Running returns the builds of other services that are not in the history yet, the newest first.
func (l *Live) Running() (results []*Result) {
	if l == nil {
		return nil
	}
	l.others.mu.Lock()
	defer l.others.mu.Unlock()
	for id, s := range l.others.seen {
		if s.Result != nil && s.Lease != l.lease && !l.cfg.Recorder.history.settled(id) {
			results = append(results, s.Result)
		}
	}
	slices.SortFunc(results, func(a, b *Result) int { return b.Begun.Compare(a.Begun) })
	return results
}

// Result returns the result so far of a build of another service; nil if there is none. One that is too young to be seen is waited for if wait is
// set, unless too many are.
//
// Errors:
//   - [k6x.Unavailable]: the bucket does not answer
func (l *Live) Result(ctx context.Context, id string, wait bool) (*Result, error) {
	if l == nil || uuid.Validate(id) != nil {
		return nil, nil
	}
	for tries := 1; ; tries++ {
		looked := l.looks.DoChan(id, func() (any, error) {
			limited, cancel := context.WithTimeout(context.Background(), liveTime)
			defer cancel()
			h, err := l.bucket.head(limited, id)
			return h.Result, err
		})
		var look singleflight.Result
		select {
		case look = <-looked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if look.Err == nil {
			return look.Val.(*Result), nil
		}
		if r := l.cfg.Recorder.Result(id); r != nil {
			return r, nil
		}
		if !errors.Is(look.Err, fs.ErrNotExist) {
			return nil, k6x.Errorf(k6x.Unavailable, "the bucket does not say whether there is a build %s", id).WithRetry(time.Minute).WithCause(look.Err)
		}
		if !wait || tries == 3 {
			return nil, nil
		}
		select {
		case l.waiting <- struct{}{}:
		default:
			return nil, nil
		}
		err := pause(ctx, l.cfg.Every)
		<-l.waiting
		if err != nil {
			return nil, err
		}
	}
}
