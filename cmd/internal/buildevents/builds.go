package buildevents

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/event/bep"
	"k6x/event/bes"
	"k6x/internal/disk"
)

const (
	maxFiles   = 1_000 // in --build-event-dir
	maxStreams = 64    // to a backend at once, with those that wait for their last acknowledgements
	lastEvent  = 64 << 10
)

// BuildsConfig says what the streams of builds tell of their service.
type BuildsConfig struct {
	URL    string // base, "" if it is not known
	Logger *slog.Logger
}

// Builds are the streams of the builds of a service: one for each that runs. Nil is none.
type Builds struct {
	options *Options
	cfg     BuildsConfig
	client  *bes.Client
	lock    *flock.Flock
	ending  chan struct{} // closed when the service waits no longer

	mu      sync.Mutex // guards what follows
	running map[string]*build
	files   []string // names in Dir, the oldest first
	streams int
	sending sync.WaitGroup
}

// build is one stream.
type build struct {
	begun  event.Event // of type Resolved
	job    *bep.Job    // nil until an engine works on it
	file   *bep.File   // nil: none
	stream *bes.Stream // nil: none
}

// OpenBuilds gets ready for streams, and ends those in the directory that a process which was killed has left. It returns nil if no streams
// are wanted.
//
// Errors: a [cli.UsageError] for what flags name that cannot be used.
func (o *Options) OpenBuilds(cfg BuildsConfig) (_ *Builds, err error) {
	if o.Dir == "" && o.backend.Backend == "" {
		return nil, nil
	}
	b := &Builds{options: o, cfg: cfg, running: make(map[string]*build), ending: make(chan struct{})}
	if o.Dir != "" {
		if err := b.openDir(); err != nil {
			return nil, cli.Usage(k6x.Errorf(k6x.Invalid, "the directory of --build-event-dir cannot be used: %w", err))
		}
	}
	if b.client, err = o.dial(); err != nil {
		_ = b.Close(context.Background())
		return nil, err
	}
	return b, nil
}

func (b *Builds) openDir() error {
	dir := b.options.Dir
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lock, err := disk.TryLock(filepath.Join(dir, ".lock"), false)
	if err != nil {
		return err
	}
	if lock == nil {
		return errors.New("another service writes to it")
	}
	b.lock = lock
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries { // their names begin with a time, which is their order
		if !strings.HasSuffix(entry.Name(), ".json") || !entry.Type().IsRegular() {
			continue
		}
		names = append(names, entry.Name())
		name := filepath.Join(dir, entry.Name())
		if ended, err := hasEnded(name); err != nil || ended {
			continue
		}
		if err := bep.Mend(name); err != nil {
			b.cfg.Logger.Warn("a file of build events cannot be ended", "name", name, "error", err)
		}
	}
	b.keep(names...)
	return nil
}

// hasEnded reports whether the last line of a file says that it is.
func hasEnded(name string) (bool, error) {
	file, err := os.Open(name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, err
	}
	end, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-lastEvent), lastEvent))
	if err != nil {
		return false, err
	}
	line, whole := bytes.CutSuffix(end, []byte("\n"))
	line = line[bytes.LastIndexByte(line, '\n')+1:]
	return whole && bytes.Contains(line, []byte(`,"lastMessage":true,`)), nil
}

// keep adds files, and removes the oldest that are too many.
func (b *Builds) keep(names ...string) {
	b.mu.Lock()
	b.files = append(b.files, names...)
	old := b.files[:max(0, len(b.files)-maxFiles)]
	b.files = b.files[len(old):]
	b.mu.Unlock()
	for _, name := range old {
		if err := os.Remove(filepath.Join(b.options.Dir, name)); err != nil {
			b.cfg.Logger.Warn("a file of build events cannot be removed", "name", name, "error", err)
		}
	}
}

// Publish is the [event.Sink] of the streams.
func (b *Builds) Publish(e event.Event) {
	if b == nil {
		return
	}
	b.mu.Lock()
	one := b.running[e.Job]
	if one == nil && e.Type == event.Resolved {
		one = &build{begun: e}
		b.running[e.Job] = one
	}
	ended := e.Type == event.Stored || e.Type == event.Failed
	if ended {
		delete(b.running, e.Job)
	}
	b.mu.Unlock()
	if one != nil && one.job == nil && e.Type == event.Started {
		b.start(one, e)
	}
	if one == nil || one.job == nil { // kept, or no engine came to it
		return
	}
	one.job.Publish(e)
	if ended {
		b.finish(one, e)
	}
}

// start begins the stream of a build.
func (b *Builds) start(one *build, e event.Event) {
	var sinks []bep.Sink
	if dir := b.options.Dir; dir != "" {
		name := e.Time.UTC().Format("20060102T150405.000Z") + "-" + e.Job + ".json"
		file, err := bep.Create(filepath.Join(dir, name), bep.JSON)
		if err != nil {
			b.cfg.Logger.Error("the events of a build cannot be written", "build", e.Job, "error", err)
		} else {
			one.file, sinks = file, append(sinks, file.Publish)
			b.keep(name)
		}
	}
	switch {
	case b.client == nil:
	case !b.mayStream():
		b.cfg.Logger.Warn("the build event service is behind with earlier builds, and is not shown this one", "build", e.Job)
	default:
		one.stream = b.client.Open(uuid.NewString(), e.Job)
		sinks = append(sinks, one.stream.Publish)
	}
	one.job = &bep.Job{URL: b.cfg.URL, Version: cli.Version(), Send: bep.Tee(sinks...)}
	one.job.Publish(one.begun)
}

// mayStream takes one of the streams to the backend, if one is left.
func (b *Builds) mayStream() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.streams >= maxStreams {
		return false
	}
	b.streams++
	return true
}

// finish ends the stream of a build. The backend is not waited for.
func (b *Builds) finish(one *build, e event.Event) {
	if one.file != nil {
		if err := one.file.Close(); err != nil {
			b.cfg.Logger.Error("the events of a build are not written whole", "build", e.Job, "error", err)
		}
	}
	if one.stream == nil {
		return
	}
	b.sending.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-b.ending:
				cancel()
			case <-ctx.Done():
			}
		}()
		err := b.options.closeStream(ctx, one.stream)
		b.mu.Lock()
		b.streams--
		b.mu.Unlock()
		switch {
		case err != nil:
			b.cfg.Logger.Warn("a build was not shown whole", "build", e.Job, "error", err)
		case b.options.resultsURL != "":
			b.cfg.Logger.Info("a build was shown", "build", e.Job, "results", b.options.results(e.Job))
		}
	})
}

// Close waits until the backend has what it was sent of builds that have ended, for as long as --bes_timeout says, and no longer than ctx lives. No
// build is under way any more.
func (b *Builds) Close(ctx context.Context) (err error) {
	if b == nil {
		return nil
	}
	defer context.AfterFunc(ctx, func() { close(b.ending) })()
	b.sending.Wait()
	if b.client != nil {
		err = b.client.Close()
	}
	if b.lock != nil {
		err = errors.Join(err, b.lock.Close())
	}
	return err
}
