package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"k6x"
	"k6x/cache/blob"
	"k6x/event"
)

// shown is a build of this service that the others can see.
type shown struct {
	result  *Result
	head    []byte    // as it is written
	number  int       // of the last blob of events
	seen    int       // number of the last event in one
	bytes   int       // of all
	pending []byte    // the next one, until it is written
	wrote   time.Time // the last one
	ended   time.Time // when all that there is was written
}

// giveBack gives a lease back, and waits for that unless the bucket is away.
func giveBack(ctx context.Context, release func(*k6x.Error)) {
	ctx, cancel := context.WithTimeout(ctx, giveTime)
	released := make(chan struct{})
	go func() {
		release(nil)
		close(released)
	}()
	select {
	case <-released:
	case <-ctx.Done():
	}
	cancel()
}

// show writes what is new of the builds of this service, and has those removed that have ended.
func (l *Live) show(ctx context.Context) error {
	now, running := time.Now(), make(map[string]bool)
	for _, r := range l.cfg.Recorder.Running() {
		if r.Outcome != Running {
			continue
		}
		running[r.ID] = true
		if s := l.shown[r.ID]; s != nil {
			s.result = r
		} else if now.Sub(r.Begun) >= l.cfg.Every {
			l.shown[r.ID] = &shown{result: r}
		}
	}
	if len(l.shown) > 0 && l.release == nil {
		_, release, err := l.cfg.Leases.Acquire(ctx, l.service)
		if err != nil {
			return err
		}
		l.release = release
	}
	for id, s := range l.shown {
		if s.ended.IsZero() {
			if err := l.write(ctx, s, running[id]); err != nil {
				return err
			}
		} else if now.Sub(s.ended) > graceful*l.cfg.Every {
			l.mu.Lock()
			l.ended[id] = true
			l.mu.Unlock()
			delete(l.shown, id)
		}
	}
	if len(l.shown) == 0 && l.release != nil && len(l.toRemove()) == 0 {
		giveBack(context.WithoutCancel(ctx), l.release)
		l.release = nil
	}
	return nil
}

// clean removes builds of this service that have ended.
func (l *Live) clean(ctx context.Context) (failed error) {
	for _, id := range l.toRemove() {
		err := l.remove(ctx, id)
		if err == nil {
			l.mu.Lock()
			delete(l.ended, id)
			l.mu.Unlock()
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (l *Live) toRemove() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.ended))
}

// write writes what is new of one build, unless it was just written, or seldom has to be as the build takes long.
func (l *Live) write(ctx context.Context, s *shown, running bool) error {
	now, pause := time.Now(), l.cfg.Every
	if running {
		pause = max(pause, now.Sub(s.result.Begun)/100)
	}
	if now.Sub(s.wrote) < pause {
		return nil
	}
	text, err := json.Marshal(head{l.service, s.result.started, s.result})
	if err == nil && len(text) <= maxHead && !bytes.Equal(text, s.head) {
		if err = blob.PutBytes(ctx, l.cfg.Bucket, heads+s.result.ID, text, blob.PutOptions{ContentType: "application/json"}); err == nil {
			s.head = text
		}
	}
	if err != nil {
		return err
	}
	if s.pending == nil { // else it may be there, and be read
		if s.pending = l.encode(s); s.pending == nil {
			if !running {
				s.ended = now
			}
			return nil
		}
	}
	err = blob.PutBytes(ctx, l.cfg.Bucket, chunkName(s.result.ID, s.number+1), s.pending, blob.PutOptions{ContentType: "application/x-ndjson"})
	if err != nil {
		return err
	}
	s.number, s.bytes, s.pending, s.wrote = s.number+1, s.bytes+len(s.pending), nil, now
	return nil
}

// encode returns the events that were not written, as many as one blob may have; nil: there are none.
func (l *Live) encode(s *shown) []byte {
	var text bytes.Buffer
	for _, e := range l.cfg.Events.After(s.result.ID, s.seen) {
		if s.bytes+text.Len() > maxShown && (e.Type == event.Output || e.Type == event.Progress) {
			s.seen = e.Number
			continue
		}
		e.Client, e.Trace = "", ""
		line, err := json.Marshal(e)
		if err == nil && len(line) < maxChunk { // else it is left out
			if text.Len()+len(line) >= maxChunk {
				break
			}
			text.Write(append(line, '\n'))
		}
		s.seen = e.Number
	}
	return bytes.Clone(text.Bytes()) // nil if there is nothing
}
