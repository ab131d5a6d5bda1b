package history

import (
	"bytes"
	"context"
	"encoding/json"
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
	running = "running/"
	heads   = running + "builds/" // <id>: a [head]
	chunks  = running + "events/" // <id>/<number>: the next events, one a line
)

// head says which service works on a build.
type head struct {
	Service string  `json:"service"`
	Started bool    `json:"started"` // an engine works on it
	Result  *Result `json:"result"`  // so far
}

func chunkName(id string, number int) string { return fmt.Sprintf("%s%s/%06d", chunks, id, number) }

// remove removes what is written of a build.
func (l *Live) remove(ctx context.Context, id string) error {
	for info, err := range l.cfg.Bucket.List(ctx, chunks+id+"/") {
		if err == nil {
			err = l.cfg.Bucket.Delete(ctx, info.Name)
		}
		if err != nil {
			return err
		}
	}
	return l.cfg.Bucket.Delete(ctx, heads+id) // last, so that others find the rest by it
}

// head reads that of a build.
func (l *Live) head(ctx context.Context, id string) (h head, err error) {
	if uuid.Validate(id) != nil || strings.Trim(id, "0123456789abcdef-") != "" {
		return h, fs.ErrNotExist
	}
	text, info, err := blob.Read(ctx, l.cfg.Bucket, heads+id, maxHead)
	if err != nil && info.Size <= maxHead {
		return h, err
	}
	if err != nil || json.Unmarshal(text, &h) != nil || h.Result == nil || h.Result.ID != id || h.Result.Outcome != Running ||
		k6x.CheckKey(h.Service) != nil {
		return head{}, fs.ErrNotExist // of another program
	}
	h.Result.started = h.Started
	return h, nil
}

// chunk reads one blob of events of a build, and returns its size, too. There are none in one that is too long to be ours.
func (l *Live) chunk(ctx context.Context, id string, number int) (events []event.Numbered, size int, err error) {
	text, info, err := blob.Read(ctx, l.cfg.Bucket, chunkName(id, number), maxChunk)
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
