package history

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"k6x"
	"k6x/event"
)

// Outcome says how an attempt ended.
type Outcome string

// The outcomes of attempts.
const (
	Running Outcome = "running" // it has not
	Built   Outcome = "built"
	Failed  Outcome = "failed"
	Untried Outcome = "untried" // there is none; of a [Cell] only
	Differs Outcome = "differs" // a rebuild gave other bytes than those that are kept
	Aborted Outcome = "aborted" // its process ended, or no client waited any more
)

// Valid reports whether it is one of those.
func (o Outcome) Valid() bool {
	return slices.Contains([]Outcome{Running, Built, Failed, Differs, Aborted}, o)
}

// Result is what came of one attempt to build.
type Result struct {
	ID        string    `json:"id"` // of the job
	Path      string    `json:"path"`
	Key       string    `json:"key"`
	Platform  string    `json:"platform"`
	Modules   []Module  `json:"modules"` // k6 first
	Toolchain string    `json:"toolchain,omitempty"`
	Service   string    `json:"service,omitempty"` // that built it: an id of which only equality says something
	Worker    string    `json:"worker,omitempty"`  // of the service, that built it; "": it did itself
	Alone     bool      `json:"alone,omitempty"`   // it was made without anything that other machines have compiled, to tell whether one of them is right
	Begun     time.Time `json:"begun"`
	Ended     time.Time `json:"ended,omitzero"` // zero too if nobody knows when its process ended
	Queued    Seconds   `json:"queued"`
	Steps     []Step    `json:"steps,omitempty"`
	Outcome   Outcome   `json:"outcome"`
	Kind      string    `json:"kind,omitempty"`      // of the error
	Extension string    `json:"extension,omitempty"` // at fault, as the list names it; "": that is not known
	Error     string    `json:"error,omitempty"`
	Hint      string    `json:"hint,omitempty"`
	Digest    string    `json:"digest,omitempty"`
	Size      int64     `json:"size,omitempty"`
	Warnings  []string  `json:"warnings,omitempty"`
	Log       bool      `json:"log,omitempty"`     // tools printed something
	Guessed   bool      `json:"guessed,omitempty"` // another service took the one that built it for dead; that one may still tell its result

	started bool // an engine worked on it
}

// Started reports whether an engine works, or worked, on it.
func (r *Result) Started() bool { return r.started }

// Module is one of the modules of a binary.
type Module struct {
	Name    string `json:"name"` // as a list names it
	Version string `json:"version"`
}

// Step is a part of the work.
type Step struct {
	Name    string  `json:"name"`
	Seconds Seconds `json:"seconds"`
	Done    int64   `json:"done,omitempty"` // modules, packages or bytes
}

// Seconds is a duration that is written as a number of seconds.
type Seconds time.Duration

// MarshalJSON implements [json.Marshaler].
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', 3, 64), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(text []byte) error {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(f >= 0 && f < 1e9) {
		return fmt.Errorf("%.20q is no number of seconds", text)
	}
	*s = Seconds(f * float64(time.Second))
	return nil
}

// take notes an event of the job.
func (r *Result) take(e event.Event) {
	switch e.Type {
	case event.Resolved:
		*r = Result{ID: e.Job, Path: e.Path, Key: e.Key, Toolchain: e.Toolchain, Service: r.Service, Begun: e.Time, Outcome: Running}
		if platform, list, err := k6x.ParsePath(e.Path); err == nil {
			r.Platform = platform.String()
			for _, dep := range list {
				r.Modules = append(r.Modules, Module{dep.Name, dep.Constraint.Version()})
			}
		}
	case event.Started:
		r.started, r.Worker, r.Alone = true, e.Worker, e.Alone
		r.Queued = Seconds(e.Time.Sub(r.Begun))
	case event.StepEnded:
		r.Steps = append(r.Steps, Step{e.Step.String(), Seconds(e.Duration), e.Done})
	case event.Output:
		r.Log = true
	case event.Finished:
		r.Warnings = e.Warnings
	case event.Stored:
		r.Outcome, r.Ended, r.Digest, r.Size = Built, e.Time, e.Digest, e.Size
		if e.Failure != nil {
			r.Outcome = Differs
			r.fail(e.Failure)
		}
	case event.Failed:
		r.Outcome, r.Ended = Failed, e.Time
		if e.Failure.Kind == k6x.Canceled || e.Failure.Kind == k6x.Busy {
			r.Outcome = Aborted
		}
		r.fail(e.Failure)
	}
}

// abort ends an attempt of which the process has ended; at is zero if nobody knows when.
func (r *Result) abort(at time.Time) {
	r.Outcome, r.Error, r.Ended = Aborted, "the service ended before the build did", at
	if !at.IsZero() && at.Before(r.Begun) {
		r.Ended = r.Begun
	}
}

// Events returns the events of an attempt that has ended, as far as its result tells of them.
func (r *Result) Events() (all []event.Event) {
	at := r.Begun
	add := func(e event.Event) {
		at = at.Add(e.Duration)
		e.Job, e.Path, e.Key, e.Time = r.ID, r.Path, r.Key, at
		all = append(all, e)
	}
	add(event.Event{Type: event.Resolved, Toolchain: r.Toolchain})
	begun := at.Add(time.Duration(r.Queued))
	at = begun
	add(event.Event{Type: event.Started})
	for _, s := range r.Steps {
		var step event.Step
		if step.UnmarshalText([]byte(s.Name)) == nil { // else another program wrote it
			add(event.Event{Type: event.StepBegun, Step: step})
			add(event.Event{Type: event.StepEnded, Step: step, Duration: time.Duration(s.Seconds), Done: s.Done})
		}
	}
	at = begun
	finished, end := event.Event{Type: event.Finished, Duration: max(0, r.Ended.Sub(begun)), Warnings: r.Warnings}, r.Last()
	if end.Type == event.Failed {
		finished.Failure = end.Failure
	}
	add(finished)
	return append(all, end)
}

// Last returns the last event of an attempt that has ended.
func (r *Result) Last() event.Event {
	e := event.Event{Job: r.ID, Path: r.Path, Key: r.Key, Time: r.Ended, Type: event.Failed, Digest: r.Digest, Size: r.Size}
	if e.Time.IsZero() {
		e.Time = r.Begun.Add(time.Duration(r.Queued))
	}
	if r.Outcome == Built || r.Outcome == Differs {
		e.Type = event.Stored
	}
	if r.Error != "" || e.Type == event.Failed {
		e.Failure = &k6x.Error{Kind: k6x.Canceled, Message: r.Error, Hint: r.Hint}
		_ = e.Failure.Kind.UnmarshalText([]byte(r.Kind)) // that of what was aborted may be none
	}
	return e
}

func (r *Result) fail(e *k6x.Error) {
	r.Kind, r.Error, r.Hint = e.Kind.String(), e.Message, e.Hint
	r.Extension = AtFault(r.Modules, e)
}

// AtFault returns the extension of those modules that an error is about: the first that it names; "" if that cannot be told. As errors of builds
// say which module does what, it is the subject.
func AtFault(modules []Module, e *k6x.Error) (name string) {
	if e.Kind != k6x.BuildFailed && e.Kind != k6x.Conflict && e.Kind != k6x.NotFound && e.Kind != k6x.Forbidden {
		return ""
	}
	first := len(e.Message)
	for _, m := range modules {
		if found := named(m.Name).FindStringIndex(e.Message); m.Name != k6x.K6 && found != nil && found[0] < first {
			name, first = m.Name, found[0]
		}
	}
	if name == "" && len(modules) == 2 && e.Kind == k6x.BuildFailed { // k6 alone builds
		return modules[1].Name
	}
	return name
}

// named matches a name that is no part of a longer one.
func named(name string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[^\w./:-])` + regexp.QuoteMeta(name) + `($|[^\w/-])`)
}
