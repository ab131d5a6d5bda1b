package builder

import (
	"time"

	"k6x"
	"k6x/event"
)

// Job is one build. It is a plain value that can be written as JSON: a machine that is sent it knows all it has to.
type Job struct {
	ID       string     `json:"id,omitempty"` // set by [Dedup]: the events of the build have it
	Recipe   k6x.Recipe `json:"recipe"`
	Lock     *k6x.Lock  `json:"lock,omitempty"` // module versions of an earlier build, to be used read-only; set by [Keep]. Nil: there was none
	Client   string     `json:"client,omitempty"`
	Priority Priority   `json:"priority,omitempty"`
	Rebuild  bool       `json:"rebuild,omitempty"` // build although the binary is kept, and compare; see [Keep]
}

// Priority says which jobs go first.
type Priority int

const (
	Foreground Priority = iota // a client waits for the job
	Background                 // none does, until one asks for the same; see [Limit]
)

// event returns what happened to the job now.
func (j Job) event(what event.Type) event.Event {
	return event.Event{Job: j.ID, Path: j.Recipe.Path(), Key: j.Recipe.Key(), Client: j.Client, Time: time.Now().UTC(), Type: what, Locked: j.Lock != nil}
}
