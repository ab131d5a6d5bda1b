package builder

import (
	"context"
	"errors"
	"io"
	"time"

	"k6x"
	"k6x/event"
)

var errPanicked = errors.New("the engine panicked")

// Run has an engine build a job, and sends the events of that, from Started to Finished; nil: no events are wanted.
func Run(ctx context.Context, engine Engine, job Job, events event.Sink, w io.Writer) (build k6x.Build, err error) {
	if events == nil {
		return engine.Build(ctx, job, nil, w)
	}
	r := &run{job: job, events: events, started: time.Now()}
	begun := job.event(event.Started)
	begun.Worker, begun.Alone = job.Worker, job.Alone
	r.events.Send(begun)
	err = errPanicked // until the engine returns
	defer func() { r.finish(build.Warnings, err) }()
	return engine.Build(ctx, job, r.progress, w)
}

// run is the work of an engine on a job.
type run struct {
	job     Job
	events  event.Sink
	started time.Time
	at      event.Event // the last progress; its Step is zero before the first
	begun   time.Time   // when its step was
	told    bool        // what the tools say, as they say it
}

// progress takes an event of the engine.
func (r *run) progress(e event.Event) {
	if e.Type == event.Output {
		output := r.job.event(event.Output)
		output.Output, r.told = e.Output, true
		r.events.Send(output)
		return
	}
	if e.Step != r.at.Step {
		r.endStep()
		begun := r.job.event(event.StepBegun)
		begun.Step, r.begun = e.Step, begun.Time
		r.events.Send(begun)
	}
	r.at = r.job.event(event.Progress)
	r.at.Step, r.at.Item, r.at.Done, r.at.Total = e.Step, e.Item, e.Done, e.Total
	r.events.Send(r.at)
}

func (r *run) endStep() {
	if r.at.Step == 0 {
		return
	}
	ended := r.job.event(event.StepEnded)
	ended.Step, ended.Done, ended.Total, ended.Duration = r.at.Step, r.at.Done, r.at.Total, ended.Time.Sub(r.begun)
	r.events.Send(ended)
}

func (r *run) finish(warnings []string, err error) {
	r.endStep()
	failure := failureOf(err)
	if failure != nil && failure.Output != "" && !r.told {
		output := r.job.event(event.Output)
		output.Output = failure.Output
		r.events.Send(output)
	}
	finished := r.job.event(event.Finished)
	finished.Duration, finished.Failure, finished.Warnings = time.Since(r.started), failure, warnings
	r.events.Send(finished)
}

// failureOf returns err as an event has it; nil if there is none.
func failureOf(err error) *k6x.Error {
	if err == nil {
		return nil
	}
	failure := *k6x.AsError(err) // a copy, as callers may add to their words
	return &failure
}
