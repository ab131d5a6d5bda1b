package history

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"time"

	"k6x/cache"
	"k6x/cache/blob"
)

// sighting is a head as it was read.
type sighting struct {
	version blob.Version
	since   time.Time // when that was first seen
	head              // without a result: it is one of another program
}

// sweep lists the builds of other services, and ends those of which the service is dead.
func (l *Live) sweep(ctx context.Context) (failed error) {
	others, dead, lives := make(map[string]sighting), make(map[string][]*Result), make(map[string]bool)
	now, complete := time.Now(), true
	for info, err := range l.cfg.Bucket.List(ctx, heads) {
		if complete = err == nil; !complete || len(others) == maxRunning {
			failed = errors.Join(failed, err)
			break
		}
		id := strings.TrimPrefix(info.Name, heads)
		if l.cfg.Events.Known(id) {
			continue // it is one of this service
		}
		s := l.others[id] // which is changed here alone
		if version := info.Version(); s.version != version || version == (blob.Version{}) {
			s.version, s.since = version, now
			if s.head, err = l.head(ctx, id); blob.IgnoreAbsent(err) != nil {
				failed = errors.Join(failed, err)
				continue
			}
		}
		others[id] = s
	}
	for id, s := range l.others {
		if _, found := others[id]; !found && !complete && len(others) < maxRunning { // it may still be there
			others[id] = s
		}
	}
	l.mu.Lock()
	l.others = others
	l.mu.Unlock()
	for _, s := range others {
		if s.Result == nil || s.Service == l.service {
			continue
		}
		held, known := lives[s.Service]
		if !known {
			var err error
			if held, err = l.cfg.Leases.Held(ctx, s.Service); err != nil {
				return errors.Join(failed, err)
			}
			lives[s.Service] = held
		}
		if !held && now.Sub(s.since) > fresh*l.cfg.Every {
			dead[s.Service] = append(dead[s.Service], s.Result)
		}
	}
	for service, results := range dead {
		failed = errors.Join(failed, l.bury(ctx, service, results))
	}
	if complete && failed == nil && len(others) < maxRunning && time.Since(l.tidied) > orphaned/24 {
		l.tidied = time.Now()
		failed = errors.Join(failed, l.tidy(ctx))
	}
	return failed
}

// tidy removes what is old and has no build, as its service was killed between two steps, or as another program put it there.
func (l *Live) tidy(ctx context.Context) error {
	for info, err := range l.cfg.Bucket.List(ctx, running) {
		if err != nil {
			return err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(info.Name, heads), chunks), "/")
		if time.Since(info.ModTime) < orphaned || l.others[id].Result != nil || l.cfg.Events.Known(id) {
			continue
		}
		if err := l.cfg.Bucket.Delete(ctx, info.Name); err != nil {
			return err
		}
	}
	return nil
}

// bury ends the builds of a service that is dead, under its lease: so one of the others does.
func (l *Live) bury(ctx context.Context, service string, results []*Result) error {
	_, release, err := l.cfg.Leases.Acquire(ctx, service)
	if err != nil || release == nil {
		return err
	}
	defer giveBack(context.WithoutCancel(ctx), release)
	var failed error
	for _, r := range results {
		h, err := l.head(ctx, r.ID)
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
		events, n, err := l.chunk(ctx, r.ID, number)
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
		return l.remove(ctx, r.ID)
	}
	if text, err := json.Marshal(r); err != nil || len(text) > maxResult/2 { // another program wrote of it
		r = first
	}
	if r.Guessed = r.Outcome == Running; r.Guessed {
		r.abort(last)
	}
	if output.Len() > 0 {
		file, _, err := l.cfg.Logs.Open(ctx, LogKey(r.ID)) // of a service that died later
		if err == nil {
			err = file.Close()
		} else if errors.Is(err, cache.ErrNotFound) {
			err = l.cfg.Logs.Put(LogKey(r.ID), output.String())
		}
		if err != nil {
			return err
		}
	}
	if err := l.cfg.Recorder.append(ctx, r); err != nil {
		return err
	}
	return l.remove(ctx, r.ID)
}
