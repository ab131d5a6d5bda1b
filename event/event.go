// Package event says what happens to builds. An [Event] is a plain value: it can be written as JSON, kept, and sent to
// another machine. A [Sink] takes events as they happen; [Stream] is one that keeps the last of them for readers
// that come later.
//
// Of one job there are, in this order and as far as they come about,
//
//	Resolved ─► Queued ─► Started ─► (StepBegun ─► (Progress or Output)… ─► StepEnded)… ─► Output ─► Finished ─► Stored or Failed
package event

import (
	"fmt"
	"slices"
	"time"

	"k6x"
)

// Type says what happened.
type Type string

// The types of events.
const (
	Resolved  Type = "resolved"   // a job begins: what is to be built is exact
	Queued    Type = "queued"     // it waits for its turn
	Started   Type = "started"    // an engine works on it
	StepBegun Type = "step_begun" // of the engine's work
	Progress  Type = "progress"   // how far the step is
	StepEnded Type = "step_ended" // with its last figures
	Output    Type = "output"     // what the tools print, as anyone may read it: some lines as they come, or else all of them at the end
	Finished  Type = "finished"   // the engine is done, with a Failure unless it made the binary
	Stored    Type = "stored"     // the job has ended: the binary is kept
	Failed    Type = "failed"     // the job has ended without one
)

// Event is one thing that happened to a job. Fields without a type in their comment are those of all events.
type Event struct {
	Job    string    `json:"job"` // its id
	Path   string    `json:"path"`
	Key    string    `json:"key"` // of the recipe
	Client string    `json:"client,omitempty"`
	Time   time.Time `json:"time"`
	Type   Type      `json:"type"`

	Request   string        `json:"request,omitempty"`   // Resolved: the path that was asked for; "": it is not known
	Toolchain string        `json:"toolchain,omitempty"` // Resolved
	Trace     string        `json:"trace,omitempty"`     // Resolved: of the request that began the job, as the header traceparent has it; "": it is not traced
	Locked    bool          `json:"locked,omitempty"`    // Started, Finished: with the module versions of an earlier build
	Worker    string        `json:"worker,omitempty"`    // Started: the name of the machine; "": the service itself
	Alone     bool          `json:"alone,omitempty"`     // Started: without anything that other machines have compiled
	Step      Step          `json:"step,omitempty"`      // StepBegun, Progress, StepEnded
	Item      string        `json:"item,omitempty"`      // Progress: the module, package or layer that it is at; may be empty
	Done      int64         `json:"done,omitempty"`      // Progress, StepEnded: modules, packages or bytes
	Total     int64         `json:"total,omitempty"`     // Progress, StepEnded: 0 if not known
	Duration  time.Duration `json:"duration,omitempty"`  // Resolved, of the resolving, StepEnded, Finished: nanoseconds, without the time in a queue
	Output    string        `json:"output,omitempty"`    // Output: whole lines
	Digest    string        `json:"digest,omitempty"`    // Stored: hex SHA-256 of the binary
	Size      int64         `json:"size,omitempty"`      // Stored: bytes
	Failure   *k6x.Error    `json:"failure,omitempty"`   // Finished, Failed: with the whole output; Stored if a rebuild gave other bytes; not to be changed
	Requests  int           `json:"requests,omitempty"`  // Stored, Failed: that waited for the job
	Warnings  []string      `json:"warnings,omitempty"`  // Finished: of the build; not to be changed
}

// Sink takes events. Those of one job come one at a time, those of several at once. It must return soon, as the build
// waits for it, and must not change what an event points to. Nil takes none.
type Sink func(Event)

// Send gives the sink an event.
func (s Sink) Send(e Event) {
	if s != nil {
		s(e)
	}
}

// As returns a sink that takes events as those of another path.
func (s Sink) As(path string) Sink {
	if s == nil {
		return nil
	}
	return func(e Event) {
		e.Path = path
		s(e)
	}
}

// Progress is for engines: it says how far a step is.
func (s Sink) Progress(step Step, item string, done, total int64) {
	s.Send(Event{Time: time.Now().UTC(), Type: Progress, Step: step, Item: item, Done: done, Total: total})
}

// Tee returns a sink that gives each event to all sinks, in their order; nil if none of them wants any.
func Tee(sinks ...Sink) Sink {
	sinks = slices.DeleteFunc(sinks, func(s Sink) bool { return s == nil })
	if len(sinks) == 0 {
		return nil
	}
	return func(e Event) {
		for _, s := range sinks {
			s.Send(e)
		}
	}
}

// Step is a part of an engine's work. They come in the order of their values; an engine passes over those that it
// does not need. Zero is none.
type Step int

// The steps of a build.
const (
	Preparing Step = iota + 1
	Pulling        // of the image to build in: bytes
	Fetching       // of modules
	Compiling      // of packages
	Linking
	Checking // of the binary
)

var stepNames = []string{"", "preparing", "pulling", "fetching", "compiling", "linking", "checking"}

func (s Step) String() string {
	if s < 0 || int(s) >= len(stepNames) {
		return fmt.Sprintf("step(%d)", int(s))
	}
	return stepNames[s]
}

// MarshalText implements [encoding.TextMarshaler].
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Step) UnmarshalText(text []byte) error {
	i := slices.Index(stepNames, string(text))
	if i < 0 {
		return fmt.Errorf("%q is not a step of a build", text)
	}
	*s = Step(i)
	return nil
}
