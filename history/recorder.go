package history

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"k6x/cache"
	"k6x/cache/blob"
	"k6x/event"
)

const (
	maxRunning = 10_000   // attempts under way that are recorded
	maxResult  = 64 << 10 // bytes of one that is read
	suffix     = ".json"
)

// Recorder makes results of the events of builds, and appends them to a history. A result is on the disk of this service from when its
// attempt begins until it is in the history, so that none is lost if the service is killed, and none is there twice.
type Recorder struct {
	history *History
	pending blob.Bucket // of this service alone: results that are not in the history
	logs    *cache.Logs // of builds; nil: there are none
	service string      // id of this one
	logger  *slog.Logger
	work    chan *Result // to write

	mu      sync.Mutex         // guards what follows
	running map[string]*Result // and those that have ended, until they are written
}

// NewRecorder returns a recorder for attempts of the service of that id. Logs of attempts go to where they are shared before the results do; nil:
// there are none.
func NewRecorder(h *History, pending blob.Bucket, logs *cache.Logs, service string, logger *slog.Logger) *Recorder {
	return &Recorder{history: h, pending: pending, logs: logs, service: service, logger: logger,
		work: make(chan *Result, maxRunning), running: make(map[string]*Result)}
}

// Publish is the [event.Sink] of the recorder.
func (r *Recorder) Publish(e event.Event) {
	if e.Type == event.Progress || e.Type == event.StepBegun {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	result := r.running[e.Job]
	if result == nil {
		if e.Type != event.Resolved || len(r.running) == maxRunning {
			return
		}
		result = &Result{Service: r.service}
		r.running[e.Job] = result
	}
	result.take(e)
	switch ended := result.Outcome != Running; {
	case ended && !result.started: // it was kept, or no engine came to it
		delete(r.running, e.Job)
	case ended || e.Type == event.Started:
		select {
		case r.work <- result.clone():
		default:
			delete(r.running, e.Job)
			r.logger.Error("a result cannot be kept, as too many are to be written", "build", e.Job)
		}
	}
}

func (r *Result) clone() *Result {
	c := *r
	c.Steps = slices.Clone(r.Steps)
	return &c
}

// Service returns the id of the service that the recorder is of.
func (r *Recorder) Service() string { return r.service }

// Running returns the attempts that are not in the history yet, as they are under way or ended just now, the newest first.
func (r *Recorder) Running() []*Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	var results []*Result
	for id, result := range r.running {
		if !r.history.settled(id) {
			results = append(results, result.clone())
		}
	}
	slices.SortFunc(results, func(a, b *Result) int { return b.Begun.Compare(a.Begun) })
	return results
}

// Result returns the result of an attempt that is under way or in the history; nil if it is not known.
func (r *Recorder) Result(id string) *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	if result := r.running[id]; result != nil {
		return result.clone()
	}
	return r.history.Result(id)
}

// Run writes results until ctx ends. It begins with those that an earlier process left: an attempt that it had not ended was aborted.
func (r *Recorder) Run(ctx context.Context) {
	retry := time.NewTicker(10 * time.Second)
	defer retry.Stop()
	for again := r.recover(ctx); ; {
		select {
		case result := <-r.work:
			if !r.write(context.WithoutCancel(ctx), result) {
				again = true
			}
		case <-retry.C:
			if again {
				again = r.recover(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Flush writes what is left once all builds have ended, for as long as ctx lives.
func (r *Recorder) Flush(ctx context.Context) {
	for len(r.work) > 0 && ctx.Err() == nil {
		r.write(ctx, <-r.work)
	}
	for _, result := range r.lost() {
		r.write(ctx, result)
	}
}

// write keeps a result here, and if its attempt has ended, in the history instead. It reports whether that was done. A result that could be
// kept in neither place, as the disk is full and the bucket away, stays among those that are running.
func (r *Recorder) write(ctx context.Context, result *Result) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text, err := json.Marshal(result)
	if err == nil {
		err = blob.PutBytes(ctx, r.pending, result.ID+suffix, text, blob.PutOptions{})
	}
	if result.Outcome != Running {
		kept := err == nil
		if err = r.append(ctx, result); err == nil {
			kept, err = true, blob.IgnoreAbsent(r.pending.Delete(ctx, result.ID+suffix))
		}
		if kept {
			r.forget(result.ID)
		}
	}
	if err != nil {
		r.logger.Warn("the result of a build cannot be kept; it is tried again", "build", result.ID, "error", err)
	}
	return err == nil
}

// append adds a result to the history, behind its log, unless there is one of the attempt. One that is guessed counts for another guess only.
func (r *Recorder) append(ctx context.Context, result *Result) error {
	if r.logs != nil && result.Log {
		keys := []string{LogKey(result.ID)}
		if result.Outcome == Failed && result.Service == r.service {
			keys = append(keys, result.Key)
		}
		for _, key := range keys {
			if err := r.logs.Upload(ctx, key); err != nil {
				return err
			}
		}
	}
	_, err := r.history.AppendUnless(ctx, Entry{Type: Build, Result: result}, func() bool {
		return r.history.settled(result.ID) || result.Guessed && r.history.Result(result.ID) != nil
	})
	return err
}

// lost returns results of attempts that have ended and could not be written.
func (r *Recorder) lost() (results []*Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, result := range r.running {
		if result.Outcome != Running && len(r.work) == 0 { // else it may be there
			results = append(results, result.clone())
		}
	}
	return results
}

func (r *Recorder) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, id)
}

// recover appends results that could not be written or are on the disk, and reports whether some are left.
func (r *Recorder) recover(ctx context.Context) (left bool) {
	if err := r.history.view.CatchUp(ctx); err != nil { // what is there already is not to come twice
		return true
	}
	for _, result := range r.lost() {
		left = !r.write(ctx, result) || left
	}
	for info, err := range r.pending.List(ctx, "") {
		if err != nil {
			r.logger.Warn("results of builds that were not kept cannot be listed", "error", err)
			return true
		}
		id, ok := strings.CutSuffix(info.Name, suffix)
		if !ok || r.underWay(id) {
			continue
		}
		if !r.recoverOne(ctx, info.Name, id) {
			left = true
		}
	}
	return left
}

func (r *Recorder) underWay(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[id] != nil
}

func (r *Recorder) recoverOne(ctx context.Context, name, id string) bool {
	if r.history.settled(id) {
		return r.pending.Delete(ctx, name) == nil
	}
	text, err := blob.ReadAll(ctx, r.pending, name, maxResult)
	if err != nil {
		return blob.IgnoreAbsent(err) == nil
	}
	result := new(Result)
	if err := json.Unmarshal(text, result); err != nil || result.ID != id {
		r.logger.Error("a result of a build is damaged; it is removed", "build", id, "error", err)
		return r.pending.Delete(ctx, name) == nil
	}
	if result.Outcome == Running {
		if r.history.Result(id) != nil { // which was guessed right
			return r.pending.Delete(ctx, name) == nil
		}
		result.abort(time.Time{})
	}
	return r.write(ctx, result)
}

// LogKey is under what the log of one build is kept, beside the last one of its recipe.
func LogKey(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}
