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

// Held reports whether a service that lives has the lease of key, as far as this one has looked at it for long enough.
func (l *Leases) Held(ctx context.Context, key string) (bool, error) {
	now, err := l.look(ctx, key)
	return now.held(), err
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

// wait returns when the lease of key seems to be free, or there is a note. One listing is for all that wait.
func (l *Leases) wait(ctx context.Context, key string) error {
	tick := time.NewTicker(l.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		listed := l.listings.DoChan("", func() (any, error) {
			if start := time.Now(); start.Sub(l.listed) > l.cfg.Poll*7/8 { // a tick comes a whole Poll behind a look
				states, err := l.list(context.Background(), leases)
				if err != nil {
					return nil, err
				}
				l.states, l.listed = states, start
			}
			return l.states, nil
		})
		select {
		case result := <-listed:
			if result.Err != nil || !result.Val.(map[string]state)[key].held() {
				return result.Err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
