package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"k6x"
	"k6x/event"
)

// DedupConfig says how long builds and failures outlive their callers.
type DedupConfig struct {
	Linger      time.Duration // how long a build goes on when no client waits for it; 0: 2 minutes
	FailureLife time.Duration // how long a failure is answered from memory; 0: 1 minute
	Failures    int           // how many failures are remembered; 0: 64
	Events      event.Sink    // takes those of type Resolved, Stored and Failed; nil: no events are wanted
}

// Dedup is a [Builder] that makes one build of all that ask for one key, and gives its job an id. The build
// has a context of its own with the values of the first caller's: a caller that leaves
// ends nothing, until none has waited for Linger. Callers that ask again before that
// join the same build.
//
// A failure that would come again ([k6x.Kind.Lasting]) is remembered for FailureLife. A panic
// of the build becomes an error of kind Internal.
//
// A job in the [Background] is one of a client's as soon as that asks for the same in the foreground: see [Limit].
//
// Jobs with Rebuild share a build of their own, as do those that are Alone. Failures that are
// remembered do not count for it, and its own is not remembered.
//
// It is not made of golang.org/x/sync/singleflight, which has no place for waiters that are counted, a build that is
// promoted, cancelled or waited for at the end: the map of flights would stay, beside the group.
type Dedup struct {
	next Builder
	cfg  DedupConfig

	mu       sync.Mutex // guards what is below and waiting, callers and idle of each flight
	closed   bool
	flights  map[flightKey]*flight // one that is being cancelled for want of waiters is not here
	running  map[*flight]struct{}  // all whose build has not returned
	failures *simplelru.LRU[string, failure]
	drained  chan struct{} // closed when closed and nothing is running
}

type flightKey struct {
	key     string // of the recipe
	rebuild bool
	alone   bool
}

// flight is one build under way.
type flight struct {
	flightKey
	job     Job
	cancel  context.CancelCauseFunc
	waiting int
	callers int         // that have waited
	idle    *time.Timer // runs while no caller waits

	done     chan struct{} // closed when artifact and err are set
	artifact k6x.Artifact
	err      error
}

type failure struct {
	err   *k6x.Error
	build string // its id
	until time.Time
}

// ErrClosing is the cause with which the context of a build ends as its service does.
var ErrClosing = errors.New("the service is about to stop")

var errAbandoned = errors.New("no client waits for this build any more")

var _ Builder = (*Dedup)(nil)

// NewDedup returns next with one build for each key.
func NewDedup(next Builder, cfg DedupConfig) *Dedup {
	cfg.Linger = cmp.Or(cfg.Linger, 2*time.Minute)
	cfg.FailureLife = cmp.Or(cfg.FailureLife, time.Minute)
	failures, err := simplelru.NewLRU[string, failure](cmp.Or(cfg.Failures, 64), nil)
	if err != nil {
		panic(err) // a negative size, which is a mistake in the program
	}
	return &Dedup{
		next:     next,
		cfg:      cfg,
		flights:  make(map[flightKey]*flight),
		running:  make(map[*flight]struct{}),
		failures: failures,
		drained:  make(chan struct{}),
	}
}

// Build joins the build of the job's key or starts one. When ctx ends it returns
// the error of ctx at once.
func (d *Dedup) Build(ctx context.Context, job Job) (k6x.Artifact, error) {
	_, wait, err := d.Join(ctx, job)
	if err != nil {
		return k6x.Artifact{}, err
	}
	return wait(ctx)
}

// Join joins the build of the job's key or starts one, and returns the id of its job. Wait, which is to be called once, is the
// rest of [Dedup.Build].
func (d *Dedup) Join(ctx context.Context, job Job) (id string, wait func(context.Context) (k6x.Artifact, error), err error) {
	if err := ctx.Err(); err != nil {
		return "", nil, err
	}
	f, err := d.join(ctx, job)
	if err != nil {
		return "", nil, err
	}
	return f.job.ID, func(ctx context.Context) (k6x.Artifact, error) {
		defer d.leave(f)
		select {
		case <-f.done:
			return f.artifact, own(f.err, f.job.ID)
		case <-ctx.Done():
			return k6x.Artifact{}, ctx.Err()
		}
	}, nil
}

// Forget clears the remembered failure of key, so that the next caller starts a build.
func (d *Dedup) Forget(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failures.Remove(key)
}

// Close cancels all builds, whose callers get an error of kind Busy, as do those that
// come later. It returns when the last build has returned, or the error of ctx.
func (d *Dedup) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		if len(d.running) == 0 {
			close(d.drained)
		}
	}
	for f := range d.running {
		f.cancel(ErrClosing)
	}
	d.mu.Unlock()
	select {
	case <-d.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *Dedup) join(ctx context.Context, job Job) (*flight, error) {
	key := flightKey{job.Recipe.Key(), job.Rebuild, job.Alone}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, closing()
	}
	f := d.flights[key]
	if f == nil {
		if past, ok := d.failures.Get(key.key); ok && !key.rebuild {
			if time.Now().Before(past.until) {
				return nil, own(past.err, past.build)
			}
			d.failures.Remove(key.key)
		}
		alone, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		if job.ID = uuid.NewString(); job.Priority == Background {
			job.claim = new(claim)
		}
		f = &flight{flightKey: key, job: job, cancel: cancel, done: make(chan struct{})}
		d.flights[key] = f
		d.running[f] = struct{}{}
		begun := f.job.event(event.Resolved)
		begun.Trace, begun.Request, begun.Duration, begun.Toolchain = f.job.Trace, f.job.Request, f.job.Resolved, f.job.Recipe.Toolchain
		d.cfg.Events.Send(begun) // before a caller knows its id
		go d.fly(alone, f)
	} else if f.job.claim != nil && job.Priority != Background {
		f.job.claim.by(job.Client)
	}
	f.waiting++
	f.callers++
	if f.idle != nil {
		f.idle.Stop()
		f.idle = nil
	}
	return f, nil
}

func (d *Dedup) leave(f *flight) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f.waiting--
	if _, running := d.running[f]; f.waiting > 0 || !running {
		return
	}
	var idle *time.Timer
	idle = time.AfterFunc(d.cfg.Linger, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if f.idle != idle { // a caller came, or the build is done
			return
		}
		f.cancel(errAbandoned)
		if d.flights[f.flightKey] == f { // a caller that comes now starts anew
			delete(d.flights, f.flightKey)
		}
	})
	f.idle = idle
}

// fly runs the build of f to its end.
func (d *Dedup) fly(ctx context.Context, f *flight) {
	defer f.cancel(nil)
	f.artifact, f.err = safely(func() (k6x.Artifact, error) { return d.next.Build(ctx, f.job) })
	if f.err != nil && errors.Is(context.Cause(ctx), ErrClosing) {
		f.err = closing()
	}
	d.mu.Lock()
	last := ended(f)
	d.mu.Unlock()
	d.cfg.Events.Send(last)

	d.mu.Lock()
	defer d.mu.Unlock()
	if d.flights[f.flightKey] == f {
		delete(d.flights, f.flightKey)
	}
	delete(d.running, f)
	if f.idle != nil {
		f.idle.Stop()
		f.idle = nil
	}
	if e, ok := errors.AsType[*k6x.Error](f.err); ok && e.Kind.Lasting() && !f.rebuild {
		d.failures.Add(f.key, failure{err: e, build: f.job.ID, until: time.Now().Add(d.cfg.FailureLife)})
	}
	close(f.done)
	if d.closed && len(d.running) == 0 {
		close(d.drained)
	}
}

// ended returns the last event of a flight. The caller holds the lock.
func ended(f *flight) event.Event {
	e := f.job.event(event.Failed)
	e.Requests = f.callers
	if e.Failure = failureOf(f.err); f.err == nil || errors.Is(f.err, ErrDiffers) { // then what is kept stays
		e.Type, e.Digest, e.Size = event.Stored, f.artifact.Digest, f.artifact.Size
	}
	return e
}

// safely turns a panic of build into an error.
func safely(build func() (k6x.Artifact, error)) (artifact k6x.Artifact, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = k6x.Errorf(k6x.Internal, "something went wrong in this service").
				WithCause(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return build()
}

// own returns a copy of the err of a build for one caller, which may add to its words.
func own(err error, build string) error {
	if e, ok := err.(*k6x.Error); ok {
		clone := *e
		clone.Build = build
		return &clone
	}
	return err
}

func closing() *k6x.Error {
	return k6x.Errorf(k6x.Busy, "the service is about to stop").WithRetry(5 * time.Second)
}
