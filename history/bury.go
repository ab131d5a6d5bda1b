package history

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"sync"
	"time"

	"k6x/cache"
	"k6x/cache/blob"
)

const (
	maxChunks = 10_000         // of one build that are read to end it
	fresh     = 25             // looks for which a head that has changed is a sign of life, as a lease that was lost needs time to be renewed
	orphaned  = 24 * time.Hour // after which there is no use for what no build has
)

// others are the builds of other services.
type others struct {
	tidied time.Time // when what no build has was last removed; of sweep alone

	mu       sync.Mutex           // guards what follows; sweep alone changes seen
	seen     map[string]sighting  // heads in the bucket when they were last listed
	services map[string]time.Time // those that live
}

// sighting is a head as it was read.
type sighting struct {
	info  blob.Info // as it was listed
	since time.Time // when it was first seen as it is
	head            // without a result: it is one of another program
}

// look reads a head that was listed, unless it was read before, as last.
func (l *Live) look(ctx context.Context, last sighting, info blob.Info, now time.Time) (sighting, error) {
	version := info.Version()
	if last.info.Name != "" && version == last.info.Version() && version != (blob.Version{}) {
		return last, nil
	}
	h, err := l.bucket.head(ctx, strings.TrimPrefix(info.Name, heads))
	if blob.IgnoreAbsent(err) != nil {
		return last, err
	}
	if !info.ModTime.Equal(last.info.ModTime) || info.Size != last.info.Size || !reflect.DeepEqual(h, last.head) {
		last.since = now
	}
	return sighting{info, last.since, h}, nil
}

// sweep lists all builds, and ends those of other services that are dead.
func (l *Live) sweep(ctx context.Context) (failed error) {
	seen, ours, dead, lives := make(map[string]sighting), make(map[string]bool), make(map[string][]*Result), make(map[string]bool)
	now, complete := time.Now(), true
	for info, err := range l.bucket.List(ctx, heads) {
		if complete = err == nil && len(seen) < maxRunning; !complete {
			failed = cmp.Or(failed, err)
			break
		}
		id := strings.TrimPrefix(info.Name, heads)
		if l.cfg.Events.Known(id) {
			ours[id] = true
			continue
		}
		s, err := l.look(ctx, l.others.seen[id], info, now)
		failed = cmp.Or(failed, err)
		if s.info.Name != "" { // else it could not be read
			seen[id] = s
		}
	}
	for id, s := range l.others.seen {
		if _, found := seen[id]; !found && !complete && len(seen) < maxRunning { // it may still be there
			seen[id] = s
		}
	}
	if complete {
		l.own.listed.Store(&listing{now, ours})
	}
	l.others.mu.Lock()
	l.others.seen = seen
	l.others.mu.Unlock()
	for _, s := range seen {
		if s.Result == nil || s.Lease == l.lease {
			continue
		}
		held, known := lives[s.Lease]
		if !known {
			var err error
			if held, err = l.cfg.Leases.Held(ctx, s.Lease); err != nil {
				return cmp.Or(failed, err)
			}
			lives[s.Lease] = held
		}
		if !held && now.Sub(s.since) > fresh*l.cfg.Every {
			dead[s.Lease] = append(dead[s.Lease], s.Result)
		}
	}
	for lease, results := range dead {
		failed = cmp.Or(failed, l.bury(ctx, lease, results))
	}
	if complete && failed == nil && time.Since(l.others.tidied) > orphaned/24 {
		l.others.tidied = time.Now()
		failed = l.tidy(ctx)
	}
	return failed
}

// tidy removes what is old and has no build, as its service was killed between two steps, or as another program put it there.
func (l *Live) tidy(ctx context.Context) error {
	for info, err := range l.bucket.List(ctx, shownPrefix) {
		if err != nil {
			return err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(info.Name, heads), chunks), "/")
		if time.Since(info.ModTime) < orphaned || l.others.seen[id].Result != nil || l.cfg.Events.Known(id) {
			continue
		}
		if err := l.bucket.Delete(ctx, info.Name); err != nil {
			return err
		}
	}
	return nil
}

// bury ends the builds of a service that is dead, under its lease: so one of the others does.
func (l *Live) bury(ctx context.Context, lease string, results []*Result) error {
	_, release, err := l.cfg.Leases.Acquire(ctx, lease)
	if err != nil || release == nil {
		return err
	}
	defer giveBack(context.WithoutCancel(ctx), release)
	var failed error
	for _, r := range results {
		h, err := l.bucket.head(ctx, r.ID)
		if err == nil { // else another one did
			l.cfg.Logger.Warn("a build is ended, as its service has died", "build", r.ID, "path", r.Path)
			err = l.end(ctx, h.Result)
		}
		failed = errors.Join(failed, blob.IgnoreAbsent(err))
	}
	return failed
}

// end makes a result of what the events of a build tell, if an engine came to it, and removes it.
func (l *Live) end(ctx context.Context, first *Result) error {
	var output strings.Builder
	r, last := first.clone(), first.Begun
	r.Steps = nil // of which there are events
	for number, size := 1, 0; number <= maxChunks && size < 2*maxShown; number++ {
		events, n, err := l.bucket.chunk(ctx, r.ID, number)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		for _, e := range events {
			r.take(e.Event)
			last = e.Time
			output.WriteString(e.Output)
		}
		size += n
	}
	if !r.started && !first.started {
		return l.bucket.remove(ctx, r.ID)
	}
	if text, err := json.Marshal(r); err != nil || len(text) > maxResult/2 { // another program wrote of it
		r = first
	}
	if r.Guessed = r.Outcome == Running; r.Guessed {
		r.abort(last)
	}
	if logs := l.cfg.Recorder.logs; logs != nil && output.Len() > 0 {
		file, _, err := logs.Open(ctx, LogKey(r.ID)) // of a service that died later
		if err == nil {
			err = file.Close()
		} else if errors.Is(err, cache.ErrNotFound) { // here it would stay, if the service lives and tells the whole log
			err = logs.PutShared(ctx, LogKey(r.ID), output.String())
		}
		if err != nil {
			return err
		}
	}
	if err := l.cfg.Recorder.append(ctx, r); err != nil {
		return err
	}
	return l.bucket.remove(ctx, r.ID)
}
