package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/google/uuid"

	"k6x"
	"k6x/cache/blob"
	"k6x/event"
)

// Where builds that run are in a bucket.
const (
	shownPrefix = "running/"
	heads       = shownPrefix + "builds/" // <id>: a [head]
	chunks      = shownPrefix + "events/" // <id>/<number>: the next events, one a line
)

const (
	maxHead  = 16 << 10 // bytes of one
	maxChunk = 1 << 20  // bytes of one
)

// layout is the bucket that the services share, as what they are shown of builds is there.
type layout struct{ blob.Bucket }

// head says which service works on a build.
type head struct {
	Lease   string  `json:"lease"`           // the key of that of the service
	Started bool    `json:"started"`         // an engine works on it
	Round   int     `json:"round,omitempty"` // how often it was written anew, from the first event on
	Result  *Result `json:"result"`          // so far
}

// head reads that of a build.
func (l layout) head(ctx context.Context, id string) (h head, err error) {
	if uuid.Validate(id) != nil || strings.Trim(id, "0123456789abcdef-") != "" {
		return h, fs.ErrNotExist
	}
	text, info, err := blob.Read(ctx, l.Bucket, heads+id, maxHead)
	if err != nil && info.Size <= maxHead {
		return h, err
	}
	if err != nil || json.Unmarshal(text, &h) != nil || h.Result == nil || h.Result.ID != id || h.Result.Outcome != Running ||
		k6x.CheckKey(h.Lease) != nil {
		return head{}, fs.ErrNotExist // of another program
	}
	h.Result.started = h.Started
	return h, nil
}

// hasHead reports whether there is one of a build.
func (l layout) hasHead(ctx context.Context, id string) (bool, error) {
	_, err := l.Stat(ctx, heads+id)
	return !errors.Is(err, fs.ErrNotExist), blob.IgnoreAbsent(err)
}

func (l layout) putHead(ctx context.Context, id string, text []byte) error {
	return blob.PutBytes(ctx, l.Bucket, heads+id, text, blob.PutOptions{ContentType: "application/json"})
}

// chunk reads one blob of events of a build, and returns its size, too. There are none in one that is too long to be ours.
func (l layout) chunk(ctx context.Context, id string, number int) (events []event.Numbered, size int, err error) {
	text, info, err := blob.Read(ctx, l.Bucket, chunkName(id, number), maxChunk)
	if info.Size > maxChunk {
		return nil, maxChunk, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for line := range bytes.Lines(text) {
		var e event.Numbered
		if json.Unmarshal(line, &e) == nil && e.Number > 0 && (e.Type != event.Failed || e.Failure != nil) { // else it is not ours
			e.Job = id
			events = append(events, e)
		}
	}
	return events, len(text), nil
}

func (l layout) putChunk(ctx context.Context, id string, number int, text []byte) error {
	return blob.PutBytes(ctx, l.Bucket, chunkName(id, number), text, blob.PutOptions{ContentType: "application/x-ndjson"})
}

func chunkName(id string, number int) string { return fmt.Sprintf("%s%s/%06d", chunks, id, number) }

// remove removes what is written of a build.
func (l layout) remove(ctx context.Context, id string) error {
	for info, err := range l.List(ctx, chunks+id+"/") {
		if err == nil {
			err = l.Delete(ctx, info.Name)
		}
		if err != nil {
			return err
		}
	}
	return l.Delete(ctx, heads+id) // last, so that others find the rest by it
}
