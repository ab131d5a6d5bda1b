package bucket

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k6x"
	"k6x/cache/blob"
)

// sighting is what was last seen of the object of a lease.
type sighting struct {
	mark  string // changes when the object does
	since time.Time
	last  time.Time
	given bool // back by this process, though it is still there
}

// state is what a listing says of one key.
type state struct {
	highest int64    // number of the newest lease or note; 0 if there is none
	lease   int64    // number of the newest lease; 0 if there is none
	note    int64    // number of the newest note; 0 if there is none
	mark    string   // tells that note from a later one of the same name
	names   []string // of all leases
	dead    bool     // the holder of the newest lease
}

// held reports whether a service builds: one that left a note does not any more.
func (s state) held() bool { return s.lease > s.note && !s.dead }

// look lists what there is for key.
func (l *Leases) look(ctx context.Context, key string) (state, error) {
	states, err := l.list(ctx, leases+key+"/")
	return states[key], err
}

// list returns the states of the keys whose leases begin with prefix.
func (l *Leases) list(ctx context.Context, prefix string) (map[string]state, error) {
	states := map[string]state{}
	now := time.Now() // before the listing, so that no lease seems older than it is
	err := l.store.list(ctx, prefix, func(o blob.Info) {
		key, rest, _ := strings.Cut(strings.TrimPrefix(o.Name, leases), "/")
		number, isNote := strings.CutSuffix(rest, noteSuffix)
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || n < 1 || n > 1<<60 || k6x.CheckKey(key) != nil {
			return // of another program
		}
		s := states[key]
		s.highest = max(s.highest, n)
		switch {
		case isNote && n > s.note:
			s.note, s.mark = n, mark(o)
		case !isNote:
			s.names = append(s.names, o.Name)
			unchanged := l.sight(o, now)
			if n > s.lease {
				s.lease, s.dead = n, unchanged >= l.cfg.TTL
			}
		}
		states[key] = s
	})
	l.forget(now)
	return states, err
}

// sight notes how a lease looks, and returns how long it has looked so.
func (l *Leases) sight(o blob.Info, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.seen[o.Name]
	if s.given {
		s.last = now
		l.seen[o.Name] = s
		return l.cfg.TTL
	}
	if !ok || s.mark != mark(o) {
		s = sighting{mark: mark(o), since: now}
	}
	s.last = now
	l.seen[o.Name] = s
	return now.Sub(s.since)
}

// mark returns a text that is another one when an object has changed.
func mark(o blob.Info) string {
	return fmt.Sprintf("%s %d %d %s", o.Name, o.ModTime.UnixNano(), o.Size, o.ETag)
}

// forget drops the sightings of leases that were not listed for a long time.
func (l *Leases) forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, s := range l.seen {
		if now.Sub(s.last) > 4*l.cfg.TTL {
			delete(l.seen, name)
		}
	}
}

// waiter waits for the lease of a key to become free.
type waiter struct {
	key  string
	wake chan error // gets one value; there is room for it
}

// wait returns when the lease of key seems to be free, or there is a note.
func (l *Leases) wait(ctx context.Context, key string) error {
	w := &waiter{key: key, wake: make(chan error, 1)}
	l.mu.Lock()
	l.waiters[w] = struct{}{}
	if !l.watching {
		l.watching = true
		go l.watch()
	}
	l.mu.Unlock()
	select {
	case err := <-w.wake:
		return err
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.waiters, w)
		l.mu.Unlock()
		return ctx.Err()
	}
}

// watch lists all leases again and again and wakes those whose lease is free. There is one
// of it, while a build waits.
func (l *Leases) watch() {
	tick := time.NewTicker(l.cfg.Poll)
	defer tick.Stop()
	for l.buildsWait() {
		<-tick.C
		states, err := l.list(context.Background(), leases)
		l.mu.Lock()
		for w := range l.waiters {
			if s := states[w.key]; err != nil || !s.held() {
				w.wake <- err
				delete(l.waiters, w)
			}
		}
		l.mu.Unlock()
	}
}

func (l *Leases) buildsWait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watching = len(l.waiters) > 0
	return l.watching
}
