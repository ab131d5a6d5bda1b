package bep

import (
	"cmp"
	"time"

	"k6x/event"
)

// Job makes the stream of one build of a service of the events of its job, as they come or later. The stream begins when the job does not wait for its
// turn any more. It is not safe for concurrent use.
type Job struct {
	URL     string // of the service, that stands before paths; "": it is not known
	Version string // of k6x
	Send    Sink

	resolved event.Event
	now      time.Time // of the last event
	stream   *Invocation
}

// Publish takes the next event.
func (j *Job) Publish(e event.Event) {
	j.now = e.Time
	switch e.Type {
	case event.Resolved:
		j.resolved = e
		return
	case event.Queued:
		return
	}
	if j.stream == nil {
		j.start(e)
	}
	j.stream.Publish(e)
	switch e.Type {
	case event.Stored:
		j.stream.Finish(0, nil)
	case event.Failed:
		j.stream.Finish(1, e.Failure)
	}
}

func (j *Job) start(e event.Event) {
	cfg := Config{
		ID: e.Job, Program: "k6x", Command: "service", Version: j.Version, Pattern: []string{e.Path}, Begun: e.Time.Add(-j.resolved.Duration),
		Metadata: map[string]string{"request": j.URL + cmp.Or(j.resolved.Request, e.Path), "toolchain": j.resolved.Toolchain, "version": j.Version},
		Now:      func() time.Time { return j.now },
	}
	if j.URL != "" {
		cfg.BinaryURL = func(path string) string { return j.URL + path }
		cfg.LogURL = j.URL + "/builds/" + e.Job + "/log"
	}
	j.stream = Start(cfg, j.Send)
	j.stream.Resolved(e.Path)
}
