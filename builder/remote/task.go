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

	mu       sync.Mutex // guards what follows
	cancel   context.CancelCauseFunc
	service  string
	token    string
	answered time.Time     // when the service last answered
	alone    bool          // there is no such service
	pending  []event.Event // that the service was not told of yet
	told     int           // how many it was told of before
	output   []event.Event // of these, in case that another service comes
}

var errUnwanted = errors.New("no service wants it any more")

func newWork(w *Worker, o order) *work {
	return &work{worker: w, rebuild: o.Job.Rebuild, service: o.Service, token: o.Token, answered: time.Now(), cancel: func(error) {}}
}

// running returns what hello says of it.
func (j *work) running(key string) running {
	j.mu.Lock()
	defer j.mu.Unlock()
	return running{Key: key, Service: j.service, Orphan: j.orphan() && !j.rebuild}
}

// orphan reports whether the service does not answer. The caller holds mu.
func (j *work) orphan() bool {
	return j.alone || time.Since(j.answered) > j.worker.cfg.Pace.answer()+reportEvery
}

// adopt has it go on for the service of an order, unless its own is there.
func (j *work) adopt(o order) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.orphan() || j.rebuild {
		return false
	}
	j.service, j.token, j.answered, j.alone = o.Service, o.Token, time.Now(), false
	j.pending, j.told, j.output = append(j.output, j.pending...), 0, nil
	return true
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
	if len(j.pending) < maxEvents {
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
		failure.Output = k6x.ClipTo(failure.Output, maxTold)
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
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	file, err := os.Create(name)
	if err != nil {
		return build, gobuild.FileError("making a file for the binary", err)
	}
	defer func() {
		if closing := file.Close(); err == nil && closing != nil {
			err = gobuild.FileError("keeping the binary", closing)
		}
	}()
	return j.worker.cfg.Engine.Build(ctx, builder.Job{ID: o.Job.ID, Recipe: o.Job.Recipe, Lock: o.Job.Lock}, j.note, file)
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
	r.Token, r.First, r.Events = j.token, j.told, slices.Clone(j.pending)
	j.mu.Unlock()
	a, err := j.worker.post(service, r, data)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.token != r.Token { // another service has come
		return answer{}, errUnwanted
	}
	switch {
	case err == nil:
		j.answered, j.alone, j.told, j.pending = time.Now(), false, j.told+len(r.Events), j.pending[len(r.Events):]
		j.output = append(j.output, slices.DeleteFunc(r.Events, func(e event.Event) bool { return e.Type != event.Output })...)
		if a.Stop && r.Outcome == nil {
			j.cancel(errUnwanted)
		}
	case errors.Is(err, nats.ErrNoResponders):
		j.alone = true
	}
	if time.Since(j.answered) > j.worker.cfg.Pace.orphan() {
		j.cancel(errUnwanted)
	}
	return a, err
}

// insist sends a report until it is answered.
func (j *work) insist(ctx context.Context, r report, data []byte) (a answer, err error) {
	for {
		if a, err = j.post(r, data); err == nil {
			return a, nil
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
	for buffer, next := make([]byte, chunk), int64(0); ; {
		n, err := file.ReadAt(buffer, min(next, size))
		if err != nil && err != io.EOF {
			return err
		}
		r := report{Offset: next}
		if next == size {
			r.Outcome = end
		}
		a, err := j.insist(ctx, r, buffer[:n])
		if err != nil || a.Stop {
			return errors.Join(err, context.Cause(ctx))
		}
		next = a.Next
	}
}
