package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/event"
)

const reportEvery = 200 * time.Millisecond // if something has happened

// work is one job at this worker.
type work struct {
	worker  *Worker
	rebuild bool
	lock    k6x.Lock // that it is built with

	mu       sync.Mutex // guards what follows
	cancel   context.CancelCauseFunc
	limit    *time.Timer // of the time that it may take; nil: none runs
	service  string
	token    string
	answered time.Time     // when the service last answered
	deserted bool          // there is no such service
	pending  []event.Event // that the service was not told of yet
	told     int           // how many it was told of before
	said     int           // bytes of output until now
	output   []event.Event // of these, in case that another service comes
}

var errUnwanted = errors.New("no service wants it any more")

func newWork(w *Worker, o order) *work {
	return &work{worker: w, rebuild: o.Job.Rebuild, lock: lockOf(o.Job), service: o.Service, token: o.Token, answered: time.Now(), cancel: func(error) {}}
}

func lockOf(job *builder.Job) (lock k6x.Lock) {
	if job.Lock != nil {
		lock = *job.Lock
	}
	return lock
}

// running returns what hello says of it.
func (j *work) running(key string) running {
	j.mu.Lock()
	defer j.mu.Unlock()
	return running{Key: key, Service: j.service, Orphan: j.orphan() && !j.rebuild}
}

// orphan reports whether the service does not answer. The caller holds mu.
func (j *work) orphan() bool {
	return j.deserted || time.Since(j.answered) > j.worker.cfg.Pace.answer()+reportEvery
}

// adopt has it go on for the service of an order, unless its own is there. It ends if the order is for other versions, by which it would be judged.
func (j *work) adopt(o order) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.orphan() || j.rebuild {
		return false
	}
	if j.lock != lockOf(o.Job) {
		j.cancel(errUnwanted)
		return false
	}
	j.service, j.token, j.answered, j.deserted = o.Service, o.Token, time.Now(), false
	if j.limit != nil {
		j.limit.Reset(o.Timeout)
	}
	j.pending, j.told, j.output = append(j.output, j.pending...), 0, nil
	return true
}

// has reports whether a token is its own.
func (j *work) has(token string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.token == token
}

// stop ends it, if the token is its own.
func (j *work) stop(token string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.token == token {
		j.cancel(errUnwanted)
	}
}

// note takes an event of the engine.
func (j *work) note(e event.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.Item, e.Output = k6x.Clip(e.Item), k6x.ClipTo(e.Output, maxSaid)
	if j.said += len(e.Output); len(j.pending) < maxEvents && (e.Output == "" || j.said <= maxTold) { // more the service does not pass on
		j.pending = append(j.pending, e)
	}
}

// run builds and delivers.
func (j *work) run(ctx context.Context, o order) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.mu.Lock()
	j.cancel = cancel
	j.mu.Unlock()
	log := j.worker.cfg.Logger.With("path", o.Job.Recipe.Path())
	log.Info("building")
	started := time.Now()
	_, _ = j.post(report{}, nil) // so that it is known who has it, whatever comes
	dir, err := j.worker.cfg.MakeTemp()
	if err == nil {
		defer j.worker.cfg.Remove(dir)
	}
	file := filepath.Join(dir, "binary")
	var build k6x.Build
	built := make(chan struct{})
	go func() {
		defer close(built)
		if err == nil {
			build, err = j.build(ctx, o, file)
		}
	}()
	j.accompany(ctx, built)
	<-built
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errGivenBack):
		_, _ = j.post(report{Back: true}, nil)
		log.Info("given back")
		return
	case cause != nil:
		log.Info("canceled", "reason", cause)
		return
	case err != nil:
		failure := *k6x.AsError(err)
		failure.Message, failure.Hint, failure.Output = k6x.ClipTo(failure.Message, 16<<10), k6x.ClipTo(failure.Hint, 4<<10), k6x.ClipTo(failure.Output, maxSaid)
		_, _ = j.insist(ctx, report{Outcome: &outcome{Failure: &failure}}, nil) // which ends with ctx only
		log.Warn("build failed", "error", err, "duration", time.Since(started))
		return
	}
	if err := j.deliver(ctx, file, build); err != nil {
		log.Warn("a binary was not delivered", "error", err)
		return
	}
	log.Info("built", "duration", time.Since(started))
}

// build has the engine build into a file.
func (j *work) build(ctx context.Context, o order, name string) (build k6x.Build, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	j.mu.Lock()
	j.limit = time.AfterFunc(o.Timeout, func() { cancel(context.DeadlineExceeded) })
	j.mu.Unlock()
	defer j.limit.Stop()
	file, err := os.Create(name)
	if err != nil {
		return build, gobuild.FileError("making a file for the binary", err)
	}
	defer func() {
		if closing := file.Close(); err == nil && closing != nil {
			err = gobuild.FileError("keeping the binary", closing)
		}
	}()
	return j.worker.cfg.Engine.Build(ctx, builder.Job{ID: o.Job.ID, Recipe: o.Job.Recipe, Lock: o.Job.Lock, Alone: o.Job.Alone}, j.note, file)
}

// accompany reports what happens until the build has ended.
func (j *work) accompany(ctx context.Context, built <-chan struct{}) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-built:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		j.mu.Lock()
		news := len(j.pending) > 0
		j.mu.Unlock()
		if news || time.Since(last) >= j.worker.cfg.Pace.hello() {
			_, _ = j.post(report{}, nil)
			last = time.Now()
		}
	}
}

// post sends a report, with what happened since the last one.
func (j *work) post(r report, data []byte) (answer, error) {
	j.mu.Lock()
	service := j.service
	r.Token, r.First, r.Events = j.token, j.told, slices.Clone(j.pending[:portion(j.pending)])
	j.mu.Unlock()
	a, err := j.worker.post(service, r, data)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.token != r.Token { // another service has come
		return answer{}, errUnwanted
	}
	switch {
	case err == nil:
		j.answered, j.deserted, j.told, j.pending = time.Now(), false, j.told+len(r.Events), j.pending[len(r.Events):]
		j.output = append(j.output, slices.DeleteFunc(r.Events, func(e event.Event) bool { return e.Type != event.Output })...)
		if a.Stop && r.Outcome == nil {
			j.cancel(errUnwanted)
		}
	case errors.Is(err, nats.ErrNoResponders):
		j.deserted = true
	}
	if time.Since(j.answered) > j.worker.cfg.Pace.orphan() {
		j.cancel(errUnwanted)
	}
	return a, err
}

// portion returns how many events go into one report.
func portion(events []event.Event) int {
	said := 0
	for i, e := range events {
		if said += 200 + len(e.Item) + len(e.Output); said > maxSaid && i > 0 {
			return i
		}
	}
	return len(events)
}

// catchUp reports all that has happened but for what goes into one more report.
func (j *work) catchUp(ctx context.Context) {
	for {
		j.mu.Lock()
		done := portion(j.pending) == len(j.pending)
		j.mu.Unlock()
		if done {
			return
		}
		if _, err := j.insist(ctx, report{}, nil); err != nil {
			return
		}
	}
}

// insist sends a report until it is answered, after all events of before if it has the outcome. What is too long to be sent is a failure of the build.
func (j *work) insist(ctx context.Context, r report, data []byte) (a answer, err error) {
	if r.Outcome != nil {
		j.catchUp(ctx)
	}
	for {
		if a, err = j.post(r, data); err == nil {
			return a, nil
		}
		if errors.Is(err, nats.ErrMaxPayload) && data != nil {
			r, data = report{Outcome: &outcome{Failure: k6x.Errorf(k6x.BuildFailed, "what is to be sent of the build is too long for NATS")}}, nil
			continue
		}
		select {
		case <-ctx.Done():
			return a, context.Cause(ctx)
		case <-time.After(reportEvery):
		}
	}
}

// deliver sends the binary from where the service has it, and the outcome with the end of it.
func (j *work) deliver(ctx context.Context, name string, build k6x.Build) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return err
	}
	end := &outcome{Size: size, Digest: hex.EncodeToString(hash.Sum(nil)), Lock: build.Lock, Warnings: build.Warnings}
	if j.stage(ctx, file, size) {
		end.Staged = true
		a, err := j.insist(ctx, report{Outcome: end}, []byte{})
		if err != nil || a.Stop {
			return errors.Join(err, context.Cause(ctx))
		}
		end.Staged = false // another service has come, which does not know of it
	}
	for buffer, next := make([]byte, chunk, maxChunk), int64(0); ; {
		n, err := file.ReadAt(buffer, min(next, size))
		if err != nil && err != io.EOF {
			return err
		}
		r := report{Offset: next}
		if next == size {
			r.Outcome = end
		}
		begun := time.Now()
		a, err := j.insist(ctx, r, buffer[:n])
		switch took, late := time.Since(begun), j.worker.cfg.Pace.answer(); {
		case took < late/8:
			buffer = buffer[:min(2*len(buffer), maxChunk)]
		case took > late/2:
			buffer = buffer[:max(len(buffer)/2, chunk)]
		}
		if err != nil || a.Stop {
			return errors.Join(err, context.Cause(ctx))
		}
		next = a.Next
	}
}
