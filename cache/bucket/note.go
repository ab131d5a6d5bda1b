package bucket

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"k6x"
)

const (
	noteSuffix = ".failed"
	maxNote    = 256 << 10 // bytes of a note as it is read
	maxOutput  = 64 << 10  // bytes of the output of a build in a note
)

// note tells others of a failure that would come again.
type note struct {
	Kind    string    `json:"kind"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
	Output  string    `json:"output,omitempty"` // its head
	Limit   k6x.Limit `json:"limit,omitzero"`
}

func noteName(key string, n int64) string { return leaseName(key, n) + noteSuffix }

// tell leaves a note, for services that wait for lease n or come soon, and reports
// whether it did. The leases go when the note does: without them a service would take the first one, and not look for a note.
func (l *Leases) tell(key string, n int64, dead []string, failed *k6x.Error) bool {
	data, err := json.Marshal(note{failed.Kind.String(), head(failed.Message), head(failed.Hint), head(failed.Output), failed.Limit})
	if err == nil {
		err = l.store.put(context.Background(), noteName(key, n), data)
	}
	if err != nil {
		l.store.logger.Warn("failure of a build cannot be told to other services; they will try it too", "key", key, "error", cause(err))
		return false
	}
	time.AfterFunc(l.cfg.NoteLife, func() {
		l.tidy(dead)
		l.store.tidy(context.Background(), leaseName(key, n)) // first: without the note it would count as held
		l.store.tidy(context.Background(), noteName(key, n))
	})
	return true
}

// failure returns the failure that a note tells of; nil if there is none, or none that a build here would end with too.
func (l *Leases) failure(ctx context.Context, key string, now state) *k6x.Error {
	if now.note == 0 || now.note < now.lease {
		return nil
	}
	name := noteName(key, now.note)
	first, known, _ := l.notes.PeekOrAdd(now.mark, time.Now())
	if known && time.Since(first) >= l.cfg.NoteLife {
		l.store.tidy(ctx, leaseName(key, now.note)) // first, as in tell; its writer did not live to do so
		l.store.tidy(ctx, name)
		return nil
	}
	data, err := l.store.get(ctx, name, maxNote)
	var n note
	if err != nil || json.Unmarshal(data, &n) != nil || l.cfg.Limits.Exceed(n.Limit) {
		return nil
	}
	for kind := range k6x.Canceled {
		if kind.Lasting() && kind.String() == n.Kind {
			return &k6x.Error{
				Kind: kind, Message: cmp.Or(n.Message, "another service could not build it"), Hint: n.Hint, Output: n.Output, Limit: n.Limit,
			}
		}
	}
	return nil
}

// head returns the beginning of a text.
func head(text string) string {
	if len(text) <= maxOutput {
		return text
	}
	return strings.ToValidUTF8(text[:maxOutput], "") + "…\n"
}
