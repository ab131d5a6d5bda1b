package remote

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob"
	"k6x/event"
)

// Wire is the number of the messages between services and workers. A worker with another one gets no work.
const Wire = 1

// Pace is how often a worker says that it is there, from which the other times follow; 0: every 2 seconds. All of a system have the same.
type Pace time.Duration

func (p Pace) hello() time.Duration   { return cmp.Or(time.Duration(p), 2*time.Second) }
func (p Pace) answer() time.Duration  { return p.hello() * 3 / 2 } // for a message
func (p Pace) settle() time.Duration  { return p.hello() * 5 / 2 } // after its start, in which a service learns which workers there are and what they build
func (p Pace) dead() time.Duration    { return p.hello() * 4 }     // a worker that says nothing for so long has died, for its service
func (p Pace) missing() time.Duration { return p.hello() * 30 }    // that a build waits for a worker that could make it, if there is none
func (p Pace) orphan() time.Duration  { return p.hello() * 60 }    // that a worker goes on with a build whose service does not answer

const (
	chunk     = 64 << 10  // bytes of a binary in one message, which a slow line takes in the time of an answer
	maxChunk  = 256 << 10 // on a line that is quick
	maxBinary = 1 << 30   // bytes of all of it
	maxSaid   = 64 << 10  // bytes of the events of a report, and of the output of a failure: JSON may make six of each, and NATS takes 1 MiB
)

// Subjects. A worker may publish to what begins with from and its name, and nowhere else.
func fromWorker(name, to string) string { return "k6x.from." + name + "." + to }
func toWorker(name string) string       { return "k6x.to." + name }
func inbox(name string) string          { return "_INBOX." + name }

const everyService = "all" // the last word of the subject of a hello; reports have the id of a service there

// names of workers are a word of a subject, a key, and part of pages.
var names = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Machine is what a worker says it is.
type Machine struct {
	Wire       int      `json:"wire"`
	Version    string   `json:"version"`  // of k6x
	Instance   string   `json:"instance"` // random, of the process
	Platform   string   `json:"platform"`
	CPUs       int      `json:"cpus"`
	Memory     int64    `json:"memory"` // bytes
	Toolchains []string `json:"toolchains"`
	Fetches    bool     `json:"fetches,omitempty"` // toolchains, as modules
	Cgo        bool     `json:"cgo,omitempty"`
	Slots      int      `json:"slots"`
}

// builds returns what it builds with, in words.
func (m *Machine) builds() []string {
	with := slices.Clone(m.Toolchains)
	if m.Cgo {
		with = append(with, "cgo")
	}
	return with
}

// hello is what a worker tells all services every few seconds.
type hello struct {
	Machine
	Draining bool      `json:"draining,omitempty"` // it takes nothing more
	Left     bool      `json:"left,omitempty"`     // and this is its last word
	Running  []running `json:"running"`
}

const maxSlots = 1000

// sane reports whether it may be shown and counted with.
func (m *hello) sane() bool {
	for _, s := range append([]string{m.Version, m.Platform, m.Instance}, m.Toolchains...) {
		if s != k6x.Clip(s) {
			return false
		}
	}
	return len(m.Toolchains) <= 100 && m.CPUs >= 0 && m.Memory >= 0 && m.Slots >= 0 && m.Slots <= maxSlots && len(m.Running) <= maxSlots
}

// running is a build of a worker.
type running struct {
	Key     string `json:"key"`
	Service string `json:"service"`          // that it is for
	Orphan  bool   `json:"orphan,omitempty"` // which does not answer
}

// order is what a service tells a worker.
type order struct {
	Service string        `json:"service"`
	Token   string        `json:"token"` // of the job, which only the two know
	Stop    bool          `json:"stop,omitempty"`
	Job     *builder.Job  `json:"job,omitempty"`     // unless it is to stop
	Timeout time.Duration `json:"timeout,omitempty"` // of the job, from when it is told
	Message string        `json:"message,omitempty"` // for the worker's log, and nothing else
}

// report is what a worker tells the service of a job. Behind it, after a newline, come bytes of the binary.
type report struct {
	Token   string        `json:"token"`
	Back    bool          `json:"back,omitempty"` // the job is given back
	First   int           `json:"first"`          // number of the first of the events
	Events  []event.Event `json:"events,omitempty"`
	Offset  int64         `json:"offset"`         // of the bytes
	Room    int64         `json:"room,omitempty"` // it would put a binary of so many bytes into the bucket
	Outcome *outcome      `json:"outcome,omitempty"`
}

// outcome is how a build ended at a worker.
type outcome struct {
	Failure *k6x.Error `json:"failure,omitempty"` // nil: all of the binary has been sent
	Size    int64      `json:"size,omitempty"`
	Digest  string     `json:"digest,omitempty"` // hex SHA-256
	Staged  bool       `json:"staged,omitempty"` // it was put where there was room for it
	Lock    k6x.Lock   `json:"lock,omitzero"`

	Warnings []string `json:"warnings,omitempty"`
}

// answer is what the service says to a report.
type answer struct {
	Stop bool  `json:"stop,omitempty"` // it wants nothing more of the job, or does not know it
	Next int64 `json:"next"`           // offset of the first byte that it does not have

	Room *blob.SignedRequest `json:"room,omitempty"` // that puts the binary into the bucket; nil: it is to be sent
}

// Registration is the body of a worker's request for a credential.
type Registration struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	Wire     int    `json:"wire"`
}

// Credential is the answer: with what a worker connects, and what it shows at the service's address.
type Credential struct {
	Servers  []string `json:"servers,omitempty"` // of NATS, for which the worker has credentials of its own; nil: at the service's address
	Password string   `json:"password"`
	Message  string   `json:"message,omitempty"` // for the worker's log
}

func encode(v any) []byte {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false) // six bytes for each < and >
	if err := e.Encode(v); err != nil {
		panic(err) // of values of this package
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

// inboxOf reports whether a message is to be answered at the inbox of that worker, and not elsewhere in its name.
func inboxOf(m *nats.Msg, name string) bool {
	prefix := inbox(name) + "."
	return len(m.Reply) > len(prefix) && m.Reply[:len(prefix)] == prefix
}
