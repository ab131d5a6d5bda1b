package builder

import (
	"cmp"
	"sync"
	"time"

	"k6x"
	"k6x/event"
)

// Job is one build. It is a plain value that can be written as JSON: a machine that is sent it knows all it has to.
type Job struct {
	ID       string        `json:"id,omitempty"` // set by [Dedup]: the events of the build have it
	Recipe   k6x.Recipe    `json:"recipe"`
	Lock     *k6x.Lock     `json:"lock,omitempty"` // module versions of an earlier build, to be used read-only; set by [Keep]. Nil: there was none
	Client   string        `json:"client,omitempty"`
	Priority Priority      `json:"priority,omitempty"`
	Trace    string        `json:"trace,omitempty"` // of the request that begins the job, as is what follows: see [event.Event]
	Request  string        `json:"request,omitempty"`
	Resolved time.Duration `json:"resolved,omitempty"` // how long that took
	Rebuild  bool          `json:"rebuild,omitempty"`  // build although the binary is kept, and compare; see [Keep]
	Alone    bool          `json:"alone,omitempty"`    // without anything that other machines have compiled: it is to tell whether they are right

	Worker string   `json:"-"` // that has a slot for the job; set by [Limit]. "": this process has
	Avoid  []string `json:"-"` // workers that are to have it only if there is no other place

	claim *claim // of a job in the background, set by [Dedup]; nil: no client can claim the job
}

// Priority says which jobs go first.
type Priority int

const (
	Foreground Priority = iota // a client waits for the job
	Background                 // none does, until one asks for the same; see [Limit]
)

// claim makes a job in the background one of a client's, who waits for it by now.
type claim struct {
	mu      sync.Mutex // guards what follows; it may be held when a Limit's is taken
	client  *string    // nil: no client has claimed the job
	claimed func(client string)
}

// by lets a client claim the job. The first one counts.
func (c *claim) by(client string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client == nil {
		c.client = &client
		if c.claimed != nil {
			c.claimed(client)
		}
	}
}

// notify has f called once a client has claimed the job, until stop is called.
func (c *claim) notify(f func(client string)) (stop func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimed = f; c.client != nil {
		f(*c.client)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.claimed = nil
	}
}

// owner returns the client that the job is of by now.
func (j Job) owner() string {
	if c := j.claim; c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.client != nil {
			return cmp.Or(*c.client, j.Client)
		}
	}
	return j.Client
}

// event returns what happened to the job now.
func (j Job) event(what event.Type) event.Event {
	return event.Event{Job: j.ID, Path: j.Recipe.Path(), Key: j.Recipe.Key(), Client: j.owner(), Time: time.Now().UTC(), Type: what, Locked: j.Lock != nil}
}
