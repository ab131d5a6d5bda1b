package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"k6x/cache/blob"
)

// Maintain compacts what is whole, and forgets what is older than it is kept; it is to be called now and then, by any number
// of services. The newest segment stays, so that numbers never begin anew.
func (j *Journal) Maintain(ctx context.Context) error {
	if err := j.maintain(ctx); err != nil {
		return fault("the journal cannot be compacted", err)
	}
	return nil
}

func (j *Journal) maintain(ctx context.Context) error {
	if err := j.catchUp(ctx); err != nil {
		return err
	}
	written, err := j.list(ctx, "segments/")
	if err != nil {
		return err
	}
	// 1. Segments that are whole and not written.
	first, last := j.Bounds()
	newest := firstOf(last+1) - perSegment
	for n := firstOf(first); n <= newest; n += perSegment {
		if _, ok := written[n]; !ok {
			if err := j.compact(ctx, n); err != nil {
				return err
			}
		}
	}
	// 2. Single entries go once all services know of their segment.
	entries, err := j.list(ctx, "entries/")
	if err != nil {
		return err
	}
	for n := range entries {
		at, ok := written[firstOf(n)]
		if ok && j.cfg.Clock().Sub(at) >= j.cfg.Grace || n < first { // before the first: written by a service that slept, and was killed
			if err := j.cfg.Bucket.Delete(ctx, j.entryName(n)); err != nil {
				return err
			}
			delete(entries, n)
		}
	}
	// 3. Segments whose last entry is too old.
	for n := firstOf(first); j.cfg.Keep > 0 && n < newest; n += perSegment {
		e, err := j.entry(ctx, n+perSegment-1)
		if err != nil {
			return blob.IgnoreAbsent(err) // another service forgets it
		}
		if _, single := entries[e.Number]; single || j.cfg.Clock().Sub(e.Time) <= j.cfg.Keep {
			break
		}
		j.reach(n+perSegment, 0)
		if err := j.cfg.Bucket.Delete(ctx, j.segmentName(n)); err != nil {
			return err
		}
	}
	return nil
}

// list returns when the blobs of one kind were written, by their number.
func (j *Journal) list(ctx context.Context, kind string) (map[int64]time.Time, error) {
	blobs := make(map[int64]time.Time)
	for info, err := range j.cfg.Bucket.List(ctx, j.cfg.Prefix+kind) {
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(strings.TrimPrefix(info.Name, j.cfg.Prefix+kind), 10, 64)
		if err == nil && n > 0 { // else it is not ours
			blobs[n] = info.ModTime
		}
	}
	return blobs, nil
}

// compact writes the segment that begins with a number.
func (j *Journal) compact(ctx context.Context, first int64) error {
	var text bytes.Buffer
	for n := first; n < first+perSegment; n++ {
		e, err := j.entry(ctx, n)
		if errors.Is(err, fs.ErrNotExist) {
			return j.find(ctx) // the segment was there, and has been forgotten
		}
		if err != nil {
			return err
		}
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	err := blob.PutBytes(ctx, j.cfg.Bucket, j.segmentName(first), text.Bytes(), blob.PutOptions{IfAbsent: true, ContentType: "application/x-ndjson"})
	if errors.Is(err, fs.ErrExist) || errors.Is(err, blob.ErrContended) {
		return nil
	}
	return err
}
