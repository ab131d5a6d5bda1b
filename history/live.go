package history

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/event"
)

// Where builds that run are in a bucket.
const (
	running = "running/"
	heads   = running + "builds/" // <id>: a [head]
	chunks  = running + "events/" // <id>/<number>: the next events, one a line
)

const (
	maxHead    = 16 << 10        // bytes of one
	maxChunk   = 1 << 20         // bytes of one
	maxChunks  = 10_000          // of one build that are read to end it
	maxShown   = 8 << 20         // bytes of one build; from there on without output and progress
	maxWaiting = 100             // clients that wait for builds that are not known
	graceful   = 10              // looks after its end for which those who follow a build have time to read it
	listed     = 10              // looks from one listing of all builds to the next
	fresh      = 25              // looks for which a head that has changed is a sign of life, as a lease that was lost needs time to be renewed
	orphaned   = 24 * time.Hour  // after which there is no use for what no build has
	liveTime   = time.Minute     // that one thing may take
	giveTime   = 5 * time.Second // that giving a lease back is waited for
)

// Leaser says which services live; *bucket.Leases of package cache/bucket is one.
type Leaser interface {
	Acquire(ctx context.Context, key string) (made *k6x.Artifact, release func(failed *k6x.Error), err error)
	Held(ctx context.Context, key string) (bool, error)
}

// LiveConfig says what a [Live] shows, and where.
type LiveConfig struct {
	Bucket   blob.Bucket // that the services share
	Leases   Leaser
	Recorder *Recorder     // of the builds of this service
	Events   *event.Stream // of these
	Logs     *cache.Logs   // that are shared
	Every    time.Duration // how often a build is written, and looked for; 0: a second
	Logger   *slog.Logger
}

// Live shows the builds that run at one of several services on a bucket at the others. A service writes the events of each build that does not
// end at once as numbered blobs, at most one a second and fewer with time, and holds a lease as long as there are some. Another service reads them
// for all clients together that follow the build there. Once the lease is not renewed any more, one of the others ends the builds, with what
// their events tell as the result. A nil one knows of none.
type Live struct {
	cfg     LiveConfig
	service string // the key of the lease of this service

	shown   map[string]*shown // of Run alone, as is what follows
	release func(*k6x.Error)  // gives the lease back; nil: it is not held
	tidied  time.Time         // when what no build has was last removed

	looks   singleflight.Group // for heads, by id
	waiting chan struct{}      // has an element for each client that waits for a build

	mu       sync.Mutex          // guards what follows
	ended    map[string]bool     // builds of this service that are to be removed
	others   map[string]sighting // heads in the bucket when they were last listed
	followed map[string]*following
}

// sighting is a head as it was read.
type sighting struct {
	version blob.Version
	since   time.Time // when that was first seen
	head              // without a result: it is one of another program
}

// head says which service works on a build.
type head struct {
	Service string  `json:"service"`
	Started bool    `json:"started"` // an engine works on it
	Result  *Result `json:"result"`  // so far
}

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

// following is a build of another service that clients of this one follow.
type following struct {
	stream event.Stream
	begun  chan struct{} // closed when the stream has an event
	stop   context.CancelFunc
	users  int
}

// NewLive returns one that shows builds while it runs. The recorder must not run yet.
func NewLive(cfg LiveConfig) *Live {
	cfg.Every = cmp.Or(cfg.Every, time.Second)
	name := sha256.Sum256([]byte(rand.Text()))
	cfg.Recorder.logs = cfg.Logs
	return &Live{cfg: cfg, service: hex.EncodeToString(name[:]), shown: make(map[string]*shown), waiting: make(chan struct{}, maxWaiting),
		ended: make(map[string]bool), followed: make(map[string]*following)}
}

// Run shows builds, and ends those of services that have died, until ctx ends.
func (l *Live) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { l.each(ctx, listed*l.cfg.Every, "builds that other services left cannot be ended", l.sweep) })
	work.Go(func() { l.each(ctx, l.cfg.Every, "builds that other services were shown cannot be removed", l.clean) })
	l.each(ctx, l.cfg.Every, "builds that run cannot be shown to other services", l.show)
}

// each calls do again and again until ctx ends. Of errors in a row it logs the first.
func (l *Live) each(ctx context.Context, every time.Duration, what string, do func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failing := false; ; {
		limited, cancel := context.WithTimeout(ctx, liveTime)
		err := do(limited)
		cancel()
		if ctx.Err() == nil && err != nil && !failing {
			l.cfg.Logger.Warn(what+"; it is tried again", "error", err)
		}
		failing = err != nil
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close removes what this service shows, as its results are in the history. Run has ended. What cannot be removed another service removes.
func (l *Live) Close(ctx context.Context) {
	if l == nil || l.release == nil {
		return
	}
	for id := range l.shown {
		l.ended[id] = true
	}
	if err := l.clean(ctx); err != nil {
		l.cfg.Logger.Warn("builds that other services are shown cannot be removed", "error", err)
	}
	giveBack(ctx, l.release)
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

// Running returns the builds of other services that are not in the history yet, the newest first.
func (l *Live) Running() (results []*Result) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.others {
		if s.Result != nil && s.Service != l.service && !l.cfg.Recorder.history.settled(id) {
			results = append(results, s.Result)
		}
	}
	slices.SortFunc(results, func(a, b *Result) int { return b.Begun.Compare(a.Begun) })
	return results
}

// Result returns the result so far of a build of another service; nil if there is none. One that is too young to be seen is waited for if wait is
// set, unless too many are.
//
// Errors:
//   - [k6x.Unavailable]: the bucket does not answer
func (l *Live) Result(ctx context.Context, id string, wait bool) (*Result, error) {
	if l == nil || uuid.Validate(id) != nil {
		return nil, nil
	}
	for tries := 1; ; tries++ {
		looked := l.looks.DoChan(id, func() (any, error) {
			limited, cancel := context.WithTimeout(context.Background(), liveTime)
			defer cancel()
			h, err := l.head(limited, id)
			return h.Result, err
		})
		var look singleflight.Result
		select {
		case look = <-looked:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if look.Err == nil {
			return look.Val.(*Result), nil
		}
		if r := l.cfg.Recorder.Result(id); r != nil {
			return r, nil
		}
		if !errors.Is(look.Err, fs.ErrNotExist) {
			return nil, k6x.Errorf(k6x.Unavailable, "the bucket does not say whether there is a build %s", id).WithRetry(time.Minute).WithCause(look.Err)
		}
		if !wait || tries == 3 {
			return nil, nil
		}
		select {
		case l.waiting <- struct{}{}:
		default:
			return nil, nil
		}
		err := pause(ctx, l.cfg.Every)
		<-l.waiting
		if err != nil {
			return nil, err
		}
	}
}

// Subscribe returns the events of a build of another service, as [event.Stream.Subscribe] does. The bucket is asked once for all that
// follow one build.
func (l *Live) Subscribe(ctx context.Context, id string, after int) iter.Seq2[int, event.Event] {
	return func(yield func(int, event.Event) bool) {
		if l == nil {
			return
		}
		f := l.join(id)
		defer l.leave(id, f)
		select {
		case <-f.begun:
		case <-ctx.Done():
			return
		}
		f.stream.Subscribe(ctx, id, after)(yield)
	}
}

func (l *Live) join(id string) *following {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.followed[id]
	if f == nil {
		ctx, stop := context.WithCancel(context.Background())
		f = &following{begun: make(chan struct{}), stop: stop}
		l.followed[id] = f
		go l.follow(ctx, id, f)
	}
	f.users++
	return f
}

func (l *Live) leave(id string, f *following) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.users--; f.users == 0 {
		f.stop()
		delete(l.followed, id)
	}
}

// follow reads the events of a build until it ends, or ctx does.
func (l *Live) follow(ctx context.Context, id string, f *following) {
	begin := sync.OnceFunc(func() { close(f.begun) })
	copied := func(events ...event.Numbered) (ended bool) {
		for _, e := range events {
			f.stream.Copy(e)
			ended = e.Type == event.Stored || e.Type == event.Failed
			begin()
		}
		return ended
	}
	known := 0 // blobs that are there
	for info, err := range l.cfg.Bucket.List(ctx, chunks+id+"/") {
		if err == nil && info.Size > 0 {
			known++
		}
	}
	for number, absent := 1, 0; ctx.Err() == nil; {
		limited, cancel := context.WithTimeout(ctx, liveTime)
		events, _, err := l.chunk(limited, id, number)
		cancel()
		if err == nil {
			if copied(events...) {
				return
			}
			number, absent = number+1, 0
		} else if absent++; absent > 3 { // so that the last events come before what the result says
			r := l.cfg.Recorder.history.Result(id)
			if r == nil && absent%graceful == 0 {
				if _, err := l.head(ctx, id); errors.Is(err, fs.ErrNotExist) {
					r = &Result{ID: id}
					r.abort(time.Now().UTC())
				}
			}
			if r != nil {
				copied(event.Numbered{Event: r.Last()})
				return
			}
		}
		if (err != nil || number > known) && pause(ctx, l.cfg.Every) != nil {
			return
		}
	}
}

// pause waits, and returns the error of ctx if that ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LogKey is under what the log of one build is kept, beside the last one of its recipe.
func LogKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
