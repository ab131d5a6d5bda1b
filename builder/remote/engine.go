package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/gobuild"
	"k6x/builder/native"
	"k6x/cache/bucket"
	"k6x/event"
)

const (
	deliveryTime = 5 * time.Minute // beside the time of the build, until all of a binary is there
	maxTold      = 256 << 10       // bytes of what the tools say, from a worker
	maxEvents    = 1000            // of one report
	maxWarnings  = 20
)

// task is one job at a worker, as the service sees it.
type task struct {
	hub    *Hub
	ctx    context.Context // of the job, also while what was built is stored
	job    builder.Job
	token  string
	worker string
	begun  time.Time
	report event.Sink
	inbox  chan *nats.Msg
	lost   chan bool // gets whether the worker is not at fault

	dir    string
	file   *os.File
	hash   hash.Hash
	size   int64
	staged *bucket.Staged // nil: the worker has not asked for room

	seen int // events
	told int // bytes of output
}

// errUntrue is the cause of an error for what a worker has no excuse for.
var errUntrue = errors.New("untrue")

var _ builder.Engine = (*Hub)(nil)

// Build implements [builder.Engine]: on the worker of the job, or in this service if it has none.
//
// An error with a [builder.Lost] as its cause says that the job did not come to its end there.
func (h *Hub) Build(ctx context.Context, job builder.Job, sink event.Sink, w io.Writer) (k6x.Build, error) {
	if job.Worker == "" {
		return h.cfg.Here.Build(ctx, job, sink, w)
	}
	t, err := h.newTask(ctx, job, sink)
	if err != nil {
		return k6x.Build{}, err
	}
	defer t.close()
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout+deliveryTime)
	defer cancel()
	build, err := t.run(ctx, w)
	if errors.Is(context.Cause(ctx), builder.ErrClosing) { // the worker goes on, for the service that comes
		h.closing.Store(true)
	} else if err != nil {
		_ = t.tell(order{Stop: true}) // the answer to its next report says so, too
	}
	if ctx.Err() != nil {
		return build, gobuild.Stopped(ctx, err)
	}
	if errors.Is(err, errUntrue) || errors.Is(err, native.ErrUntrue) {
		h.quarantine(err.Error(), job.Worker)
		err = t.isLost(false)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	lost, _ := errors.AsType[*builder.Lost](err)
	p := h.peers[job.Worker]
	if err == nil {
		p.built++
	} else if lost == nil || lost.Failure != nil {
		p.failed++
	}
	if lost == nil || !lost.Back {
		p.failing = err != nil
	}
	if lost != nil && !lost.Taken {
		h.cfg.Logger.Warn("a build was lost by its worker", "worker", job.Worker, "path", job.Recipe.Path(), "build", job.ID, "back", lost.Back, "reason", k6x.Clip(lost.Error()))
	}
	return build, err
}

func (h *Hub) newTask(ctx context.Context, job builder.Job, report event.Sink) (*task, error) {
	dir, err := h.cfg.Engine.MakeTemp()
	if err != nil {
		return nil, gobuild.FileError("making a directory for the binary", err)
	}
	file, err := os.Create(filepath.Join(dir, "binary"))
	if err != nil {
		h.cfg.Engine.Remove(dir)
		return nil, gobuild.FileError("making a file for the binary", err)
	}
	t := &task{hub: h, ctx: ctx, dir: dir, job: job, token: rand.Text(), worker: job.Worker, begun: time.Now().UTC(), report: report, file: file, hash: sha256.New(),
		inbox: make(chan *nats.Msg, 16), lost: make(chan bool, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tasks[t.token] = t
	return t, nil
}

// close ends what the worker may report of the task.
func (t *task) close() {
	t.hub.mu.Lock()
	delete(t.hub.tasks, t.token)
	t.hub.mu.Unlock()
	_ = t.file.Close()
	t.hub.cfg.Engine.Remove(t.dir)
}

// isLost returns the error of a task that did not come to its end.
func (t *task) isLost(back bool) error {
	if back {
		t.hub.mu.Lock()
		t.hub.peers[t.worker].shunned = true
		t.hub.mu.Unlock()
	}
	lost := &builder.Lost{Worker: t.worker, Back: back}
	return k6x.Errorf(k6x.Unavailable, "%v", lost).WithCause(lost)
}

// tell sends the worker an order.
func (t *task) tell(o order) error {
	o.Service, o.Token = t.hub.id, t.token
	return t.hub.cfg.Broker.conn.Publish(toWorker(t.worker), encode(o))
}

// run gives the worker the job, and takes its reports until the end.
func (t *task) run(ctx context.Context, w io.Writer) (k6x.Build, error) {
	job := t.job
	job.Client, job.Trace, job.Request = "", "", "" // which are no business of a worker
	if err := t.tell(order{Job: &job, Timeout: t.hub.cfg.Timeout}); err != nil {
		return k6x.Build{}, k6x.Errorf(k6x.Unavailable, "a worker could not be given the build").WithCause(err)
	}
	silence := time.NewTimer(t.hub.cfg.Pace.answer())
	defer silence.Stop()
	conn := t.hub.cfg.Broker.conn
	cuts := conn.Stats().Reconnects
	for heard := false; ; heard = true {
		select {
		case <-ctx.Done():
			return k6x.Build{}, ctx.Err()
		case back := <-t.lost:
			return k6x.Build{}, t.isLost(back || !heard || t.cut(cuts)) // one that never had it is not at fault
		case <-silence.C:
			return k6x.Build{}, t.isLost(!heard || t.cut(cuts))
		case m := <-t.inbox:
			cuts = conn.Stats().Reconnects
			end, err := t.take(m)
			if lost, ok := errors.AsType[*builder.Lost](err); ok {
				lost.Taken = !heard
			}
			if err != nil || end == nil {
				silence.Reset(t.hub.cfg.Pace.dead())
				if err != nil {
					return k6x.Build{}, err
				}
				continue
			}
			if end.Failure != nil {
				return k6x.Build{}, t.failed(end.Failure)
			}
			if end.Staged {
				if err := t.fetch(ctx, end); err != nil {
					return k6x.Build{}, err
				}
			}
			if err := t.file.Close(); err != nil {
				return k6x.Build{}, gobuild.FileError("keeping the binary", err)
			}
			build, err := t.hub.cfg.Engine.Accept(ctx, t.job, t.file.Name(), end.Lock, w)
			build.Started, build.Duration = t.begun, time.Since(t.begun)
			for _, warning := range end.Warnings[:min(len(end.Warnings), maxWarnings)] {
				if warning = k6x.Clip(warning); !slices.Contains(build.Warnings, warning) { // it may have sources that are not here
					build.Warnings = append(build.Warnings, warning)
				}
			}
			return build, err
		}
	}
}

// take takes a report, and answers it. It returns the outcome of the build once there is one.
func (t *task) take(m *nats.Msg) (*outcome, error) {
	line, data, _ := bytes.Cut(m.Data, []byte("\n"))
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, fmt.Errorf("%w: a report that cannot be read: %w", errUntrue, err)
	}
	if r.Back {
		t.hub.answer(m, answer{Stop: true})
		return nil, t.isLost(true)
	}
	t.pass(r.First, r.Events)
	if len(data) > 0 && r.Offset == t.size { // else it is told where to go on
		if t.size+int64(len(data)) > t.hub.cfg.Most {
			return nil, t.tooMuch()
		}
		if _, err := io.MultiWriter(t.file, t.hash).Write(data); err != nil {
			return nil, gobuild.FileError("keeping the binary", err)
		}
		if t.size += int64(len(data)); len(data) >= chunk {
			t.hub.useful(t.worker)
		}
	}
	o := r.Outcome
	if o != nil && o.Failure == nil && (o.Staged && (t.staged == nil || t.size > 0) || r.Offset+int64(len(data)) != t.size) {
		o = nil // it was told of another service's bytes, or has sent some of its own
	}
	if o != nil && o.Failure == nil && !o.Staged {
		if err := t.check(o, t.size, hex.EncodeToString(t.hash.Sum(nil))); err != nil {
			return nil, err
		}
	}
	room, err := t.room(r.Room)
	if err != nil {
		return nil, err
	}
	t.hub.answer(m, answer{Next: t.size, Stop: o != nil, Room: room})
	return o, nil
}

func (t *task) tooMuch() error {
	return fmt.Errorf("%w: it has more than %d bytes for %s", errUntrue, t.hub.cfg.Most, t.job.Recipe.Path())
}

// check returns an error unless what came of a worker is what it says it built.
func (t *task) check(said *outcome, size int64, digest string) error {
	if said.Size != size || said.Digest != digest {
		return fmt.Errorf("%w: it sent %d bytes with the digest %s for %s, and said %d with %s", errUntrue, size, digest, t.job.Recipe.Path(), said.Size, k6x.Clip(said.Digest))
	}
	return nil
}

// pass passes on what happens at the worker, as far as an engine may tell that and it has not come before. First is the number of the first event.
func (t *task) pass(first int, events []event.Event) {
	events = events[min(max(0, t.seen-first), len(events)):]
	t.seen = max(t.seen, first) + len(events)
	for _, e := range events[:min(len(events), maxEvents)] {
		now := time.Now().UTC()
		switch {
		case e.Type == event.Progress && e.Step > 0:
			t.report.Send(event.Event{Time: now, Type: event.Progress, Step: e.Step, Item: k6x.Clip(e.Item), Done: max(0, e.Done), Total: max(0, e.Total)})
		case e.Type == event.Output && t.told < maxTold:
			t.told += len(e.Output)
			t.report.Send(event.Event{Time: now, Type: event.Output, Output: k6x.ClipTo(e.Output, maxTold)})
		}
	}
}

// kinds are those of errors that an engine ends with.
var kinds = []k6x.Kind{k6x.Invalid, k6x.NotFound, k6x.Forbidden, k6x.Conflict, k6x.BuildFailed, k6x.Unavailable, k6x.Timeout, k6x.NoSpace}

// failed returns the error of a build that failed at its worker, which is a [builder.Lost] if it may be the fault of the machine.
func (t *task) failed(said *k6x.Error) error {
	failure := failureOf(said)
	if failure.Kind != k6x.Unavailable {
		return failure
	}
	lost := &builder.Lost{Worker: t.worker, Failure: failure}
	return k6x.Errorf(k6x.Unavailable, "%v", lost).WithCause(lost)
}

// cut reports whether the silence of a worker may be that of this service, whose connection had been made anew so often when the worker was last heard.
func (t *task) cut(before uint64) bool {
	conn := t.hub.cfg.Broker.conn
	return conn.FlushTimeout(t.hub.cfg.Pace.answer()) != nil || conn.Stats().Reconnects != before
}

// failureOf returns the error of a build that failed at a worker. The disk of this service is not full if that of the worker is.
func failureOf(said *k6x.Error) *k6x.Error {
	kind := said.Kind
	if !slices.Contains(kinds, kind) || kind == k6x.NoSpace {
		kind = k6x.Unavailable
	}
	return &k6x.Error{Kind: kind, Message: k6x.ClipTo(said.Message, 16<<10), Hint: k6x.ClipTo(said.Hint, 4<<10), Output: k6x.ClipTo(said.Output, 1<<20), Limit: said.Limit,
		Err: errors.New("at a worker")}
}
