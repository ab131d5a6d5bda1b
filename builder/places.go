package builder

import (
	"time"

	"k6x"
)

// Places is where builds run: so many on this machine, or on workers too. [Limit] calls Take, Release and Count one at a time.
type Places interface {
	// Take takes a place that fits a job, until Release. Worker names the machine; "": this one. It reports false if none is free.
	Take(job Job) (worker string, ok bool)
	Release(worker string)

	Count() (all, free int)

	// Able returns an error of kind Unavailable if no place, free or not, fits a job, and none may come soon.
	Able(job Job) error
}

// slots are places on this machine, as many as are free.
type slots struct{ all, free int }

func (s *slots) Take(Job) (worker string, ok bool) {
	if s.free == 0 {
		return "", false
	}
	s.free--
	return "", true
}

func (s *slots) Release(string)         { s.free++ }
func (s *slots) Count() (all, free int) { return s.all, s.free }
func (s *slots) Able(Job) error         { return nil }

// Lost is the cause of the error of a build that its machine did not end: it went away, gave it back or is broken. [Limit] has it built again.
type Lost struct {
	Worker  string
	Back    bool       // it was given back, and is not at fault
	Taken   bool       // it was, before anything was done: another service was faster, and what it waits for is its turn
	Failure *k6x.Error // of the machine, which others need not have; the answer if there is no other, or it is that of three. Nil: it went away
}

func (l *Lost) Error() string {
	if l.Back {
		return "the worker " + l.Worker + " gave the build back"
	}
	if l.Failure != nil {
		return "the worker " + l.Worker + " could not build: " + l.Failure.Message
	}
	return "the worker " + l.Worker + " was lost with the build"
}

// Pool is a group of workers, as a service shows it.
type Pool struct {
	Name    string   `json:"name"` // local: the slots of this service; workers: the machines that dialed in
	Slots   int      `json:"slots"`
	Busy    int      `json:"busy"`
	Workers []Worker `json:"workers"` // those that are busy first; of slots, one each
}

// Worker is what does one build at a time. A machine with several builds is there with each of them.
type Worker struct {
	Name      string    `json:"name,omitempty"`
	State     string    `json:"state"` // idle, busy or drained; of a machine also quarantined, revoked or away
	Version   string    `json:"version,omitempty"`
	Platforms []string  `json:"platforms,omitempty"` // "": any
	Build     string    `json:"build,omitempty"`     // id
	Path      string    `json:"path,omitempty"`      // of that
	Step      string    `json:"step,omitempty"`
	Done      int64     `json:"done,omitempty"`
	Total     int64     `json:"total,omitempty"`
	Since     time.Time `json:"since,omitzero"` // of the state

	// Of a machine, the counts since this service started.
	Reason     string    `json:"reason,omitempty"` // of a state in which it gets nothing to do
	CPUs       int       `json:"cpus,omitempty"`
	Memory     int64     `json:"memory,omitempty"`     // bytes
	Toolchains []string  `json:"toolchains,omitempty"` // of Go, and cgo
	Seen       time.Time `json:"seen,omitzero"`
	Built      int       `json:"built,omitempty"`
	Failed     int       `json:"failed,omitempty"`
	Unverified []string  `json:"unverified,omitempty"` // paths of what it built, if it is quarantined, that no other machine has made by itself
}
