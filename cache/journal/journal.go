// Package journal is a log of numbered entries in a bucket, to which several services append. Numbers begin at 1 and have no
// gap, all services see the same, and no entry changes.
//
//	<prefix>entries/<number>   one entry
//	<prefix>segments/<number>  256 entries, a line each; the number is that of the first
//
// An entry comes to be by writing its blob if there is none: the one conditional write decides between services that append
// at once. Once the entries of a segment are all there, the segment is written, also only if there is none, and a while later
// the single blobs go. A service that slept meanwhile and writes such an entry anew finds the segment afterwards, and takes its entry
// back: the segment is what counts.
//
// Files: journal.go appends and reads, view.go follows, maintain.go compacts and forgets.
package journal

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"k6x"
	"k6x/cache/blob"
)

const (
	perSegment = 256
	maxEntry   = 64 << 10 // bytes of one
	recent     = 5120     // entries that are kept in memory
	maxTries   = 1000     // to append, while others do
)

// Config says where a journal is and how long it keeps.
type Config struct {
	Bucket blob.Bucket
	Prefix string           // of the names of blobs
	Keep   time.Duration    // of entries; 0: for ever
	Grace  time.Duration    // how long single entries stay beside their segment; 0: 10 minutes
	Poll   time.Duration    // how often a reader that waits asks for entries of other services; 0: 2 seconds
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil discards
}

// Entry is one entry of a journal.
type Entry struct {
	Number int64           `json:"number"`
	Time   time.Time       `json:"time"`
	ID     string          `json:"id"` // random: one append, one id
	Data   json.RawMessage `json:"data,omitempty"`
}

// GoneError says that entries are not kept any more.
type GoneError struct {
	First int64 // the number of the first that is
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("entries before %d are not kept any more", e.First)
}

// Journal is a log of entries. All methods may be called at once.
type Journal struct {
	cfg Config

	looking chan struct{} // has one in it during a look, which those that follow share, and guards what follows
	tried   time.Time     // when the last one began
	failed  error         // what came of it

	mu      sync.Mutex // guards what follows
	first   int64      // number of the first entry that is kept
	last    int64      // number of the last entry
	entries *simplelru.LRU[int64, Entry]
	looked  time.Time     // when the end was known for certain
	changed chan struct{} // closed when last has become higher
}

// New returns the journal in a bucket, which is asked when there is something to read or to write.
func New(cfg Config) *Journal {
	cfg.Grace, cfg.Poll = cmp.Or(cfg.Grace, 10*time.Minute), cmp.Or(cfg.Poll, 2*time.Second)
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	j := &Journal{cfg: cfg, first: 1, changed: make(chan struct{}), looking: make(chan struct{}, 1)}
	j.entries, _ = simplelru.NewLRU[int64, Entry](recent, nil) // fails for a size below 1 only
	return j
}

// find looks up where the journal begins and ends.
func (j *Journal) find(ctx context.Context) error {
	now := j.cfg.Clock()
	segments, err := j.list(ctx, "segments/")
	if err != nil {
		return fault("the journal cannot be listed", err)
	}
	entries, err := j.list(ctx, "entries/")
	if err != nil {
		return fault("the journal cannot be listed", err)
	}
	first, last := int64(1), int64(0) // nothing is forgotten before there is a segment, of which one stays
	if len(segments) > 0 {
		numbers := slices.Sorted(maps.Keys(segments))
		first, last = numbers[0], numbers[len(numbers)-1]+perSegment-1
	}
	for n := range entries {
		last = max(last, n)
	}
	j.reach(first, last)
	j.saw(now)
	return nil
}

// saw notes that the end of the journal was known at a time.
func (j *Journal) saw(at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.looked = at
}

// stale reports whether the end that is known may be so old that what came behind it has been compacted and forgotten.
func (j *Journal) stale() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	age := j.cfg.Clock().Sub(j.looked)
	return age < 0 || age > j.cfg.Grace/2
}

// reach notes where the journal begins and ends.
func (j *Journal) reach(first, last int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.first = max(j.first, first)
	if last > j.last {
		j.last = last
		close(j.changed)
		j.changed = make(chan struct{})
	}
}

// Bounds returns the numbers of the first and the last entry; last is less than first if there is none.
func (j *Journal) Bounds() (first, last int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first, j.last
}

// AppendBehind writes an entry behind number last, and returns it: so it is known what all entries in front of it are.
//
// Errors:
//   - fs.ErrExist: there is one behind that number already
//   - [k6x.Unavailable]: the bucket does not answer
func (j *Journal) AppendBehind(ctx context.Context, last int64, data any) (Entry, error) {
	if _, known := j.Bounds(); last < known {
		return Entry{}, fs.ErrExist
	}
	raw, err := json.Marshal(data)
	if err != nil {
		return Entry{}, err
	}
	if len(raw) > maxEntry {
		return Entry{}, fmt.Errorf("an entry of %d bytes is longer than %d", len(raw), maxEntry)
	}
	e := Entry{Number: last + 1, Time: j.cfg.Clock().UTC(), ID: rand.Text(), Data: raw}
	switch err := j.write(ctx, e); {
	case err == nil:
		j.keep(e)
		return e, nil
	case errors.Is(err, fs.ErrExist), errors.Is(err, blob.ErrContended):
		return Entry{}, fs.ErrExist
	default:
		return Entry{}, fault("the journal cannot be written", err)
	}
}

// write writes an entry if there is none of its number.
func (j *Journal) write(ctx context.Context, e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	// 1. The conditional write, which decides. An answer that was lost is found by the entry's id.
	err = blob.PutBytes(ctx, j.cfg.Bucket, j.entryName(e.Number), line, blob.PutOptions{IfAbsent: true, ContentType: "application/json"})
	if err != nil {
		there, readErr := j.read(ctx, e.Number)
		if readErr != nil || there.ID != e.ID {
			return err
		}
	}
	// 2. If a segment or what follows is there, the number was taken while this service slept, and its blob was gone again.
	if j.stale() {
		if err := j.find(ctx); err != nil {
			return err
		}
	}
	segment, err := j.readSegment(ctx, firstOf(e.Number))
	first, _ := j.Bounds()
	switch {
	case err == nil && segment[e.Number-firstOf(e.Number)].ID == e.ID:
		return nil
	case errors.Is(err, fs.ErrNotExist) && e.Number >= first:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := j.cfg.Bucket.Delete(ctx, j.entryName(e.Number)); err != nil {
		return err
	}
	return errors.Join(fs.ErrExist, j.find(ctx))
}

// catchUp reads what others have appended.
func (j *Journal) catchUp(ctx context.Context) error {
	if j.stale() {
		if err := j.find(ctx); err != nil {
			return err
		}
	}
	for {
		now := j.cfg.Clock()
		_, last := j.Bounds()
		e, err := j.read(ctx, last+1)
		if errors.Is(err, fs.ErrNotExist) {
			// Perhaps it is in a segment by now.
			if _, err = j.cfg.Bucket.Stat(ctx, j.segmentName(last+1)); errors.Is(err, fs.ErrNotExist) {
				j.saw(now)
				return nil
			}
			if err == nil {
				err = j.find(ctx)
			}
		} else if err == nil {
			j.keep(e)
		}
		if err != nil {
			return fault("the journal cannot be read", err)
		}
	}
}

// look is catchUp for those that follow. They share one within half of the time between polls, whatever comes of it.
func (j *Journal) look(ctx context.Context) error {
	select {
	case j.looking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-j.looking }()
	now := j.cfg.Clock()
	if age := now.Sub(j.tried); age >= 0 && age < j.cfg.Poll/2 {
		return j.failed
	}
	err := j.catchUp(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		j.cfg.Logger.Warn("the journal cannot be read; it is tried again", "error", err)
	}
	j.tried, j.failed = now, err
	return err
}

// keep notes an entry that is there.
func (j *Journal) keep(e Entry) {
	j.mu.Lock()
	j.entries.Add(e.Number, e)
	j.mu.Unlock()
	j.reach(0, e.Number)
}

// read reads a single entry.
func (j *Journal) read(ctx context.Context, number int64) (Entry, error) {
	line, err := blob.ReadAll(ctx, j.cfg.Bucket, j.entryName(number), 2*maxEntry)
	if err != nil {
		return Entry{}, err
	}
	return decode(line, number)
}

func decode(line []byte, number int64) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(line, &e); err != nil || e.Number != number {
		return Entry{}, fmt.Errorf("entry %d of the journal is damaged (%v)", number, err)
	}
	return e, nil
}

// Read returns up to limit entries behind number since, in their order; none if there are none.
//
// Errors:
//   - [*GoneError]: the first of them is not kept any more
//   - [k6x.Unavailable]: the bucket does not answer
func (j *Journal) Read(ctx context.Context, since int64, limit int) ([]Entry, error) {
	return j.readBehind(ctx, since, limit, j.catchUp)
}

// Follow is Read for any number of readers, for which the bucket is asked once: it may lack what others appended just now, as [Journal.Wait] does.
func (j *Journal) Follow(ctx context.Context, since int64, limit int) ([]Entry, error) {
	return j.readBehind(ctx, since, limit, j.look)
}

func (j *Journal) readBehind(ctx context.Context, since int64, limit int, catchUp func(context.Context) error) ([]Entry, error) {
	if _, last := j.Bounds(); since >= last { // the end: others may have appended
		if err := catchUp(ctx); err != nil {
			return nil, err
		}
	}
	first, last := j.Bounds()
	if since < first-1 {
		return nil, &GoneError{first}
	}
	var entries []Entry
	for n := since + 1; n <= last && len(entries) < limit; n++ {
		e, err := j.entry(ctx, n)
		if errors.Is(err, fs.ErrNotExist) { // forgotten since it was looked up where the journal begins
			if err := j.find(ctx); err != nil {
				return nil, err
			}
			if first, _ := j.Bounds(); n < first {
				return nil, &GoneError{first}
			}
		}
		if err != nil {
			return nil, fault("the journal cannot be read", err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Last returns the last entry; the zero value if there is none.
//
// Errors:
//   - [k6x.Unavailable]: the bucket does not answer
func (j *Journal) Last(ctx context.Context) (Entry, error) {
	if err := j.catchUp(ctx); err != nil {
		return Entry{}, err
	}
	_, last := j.Bounds()
	if last == 0 {
		return Entry{}, nil
	}
	e, err := j.entry(ctx, last)
	if err != nil {
		return Entry{}, fault("the journal cannot be read", err)
	}
	return e, nil
}

// entry returns an entry from memory, its own blob, or its segment.
func (j *Journal) entry(ctx context.Context, number int64) (Entry, error) {
	j.mu.Lock()
	e, ok := j.entries.Get(number)
	j.mu.Unlock()
	if ok {
		return e, nil
	}
	e, err := j.read(ctx, number)
	if errors.Is(err, fs.ErrNotExist) {
		first := firstOf(number)
		segment, err := j.readSegment(ctx, first)
		if err != nil {
			return Entry{}, err
		}
		return segment[number-first], nil
	}
	if err == nil {
		j.keep(e)
	}
	return e, err
}

// readSegment reads the segment that begins with a number.
func (j *Journal) readSegment(ctx context.Context, first int64) ([]Entry, error) {
	text, err := blob.ReadAll(ctx, j.cfg.Bucket, j.segmentName(first), 2*maxEntry*perSegment)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for line := range bytes.Lines(text) {
		e, err := decode(line, first+int64(len(entries)))
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if len(entries) != perSegment {
		return nil, fmt.Errorf("the segment of the journal from %d has %d entries", first, len(entries))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range entries {
		j.entries.Add(e.Number, e)
	}
	return entries, nil
}

// Wait returns once there is an entry behind number since, or when ctx ends, with its error.
func (j *Journal) Wait(ctx context.Context, since int64) error {
	for {
		j.mu.Lock()
		last, changed := j.last, j.changed
		j.mu.Unlock()
		if last > since {
			return nil
		}
		poll := time.NewTimer(j.cfg.Poll)
		select {
		case <-changed:
		case <-poll.C:
			_ = j.look(ctx) // which logs what is wrong
		case <-ctx.Done():
		}
		poll.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// firstOf returns the first number of the segment of a number.
func firstOf(number int64) int64 { return number - (number-1)%perSegment }

func (j *Journal) entryName(number int64) string {
	return fmt.Sprintf("%sentries/%012d", j.cfg.Prefix, number)
}

// segmentName returns the name of the segment that a number is in.
func (j *Journal) segmentName(number int64) string {
	return fmt.Sprintf("%ssegments/%012d", j.cfg.Prefix, firstOf(number))
}

func fault(message string, err error) error {
	if _, ok := errors.AsType[*k6x.Error](err); ok || k6x.Interrupted(err) {
		return err
	}
	return k6x.Errorf(k6x.Unavailable, "%s", message).WithCause(err)
}
