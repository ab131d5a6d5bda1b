// Package client is a client of a builder service by its GET path: it asks which versions a list of
// dependencies resolves to, and downloads the binary, which is built first if need be.
//
//	list ─► GET ─ 307, 301 ─► canonical URL ─► GET ─ 200 ─► bytes, checked by the digest that the service announces
//	                                            ├─ 307 ─► the same, while it is built; /progress and its events meanwhile
//	                                            └─ 307 ─► a bucket; the digest by a HEAD
//
// It also asks what came of builds, follows their logs and the news, and has builds made again.
//
// Whatever a service says is checked before it is used or shown.
//
//	client.go   Client, events      request.go  one request, redirects, tries     fetch.go     Resolve, Fetch
//	answer.go   errors, digests     wait.go     while it builds                   download.go  bytes, resumed and verified
//	builds.go   what came of builds, logs, news                                   url.go       URLs of binaries
package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"k6x"
)

// Client talks to a service. Only Base is needed; Download does without it.
type Client struct {
	Base     *url.URL                                         // of the service; a path of its own is kept, with or without a slash at its end
	HTTP     *http.Client                                     // nil: one with the default transport; redirects are followed here
	Token    string                                           // sent to the host of Base only; "": none
	NoToken  string                                           // hint of errors of kind k6x.Unauthorized; "": that of the service
	Progress func(Event)                                      // called once at a time, while a method of the client runs; nil: a service is not asked for the steps of a build
	Retrying func(err error, after time.Duration)             // called before a request is tried again; nil: that is not reported
	Nearest  Nearest                                          // finds a binary that is like the one asked for, of which only the difference is downloaded then; nil: there is none
	Tries    int                                              // of a request that fails in a way that may pass; 0: 4
	Stall    time.Duration                                    // how long a download may go without a byte; 0: a minute
	MaxWait  time.Duration                                    // how long it may take until the first byte of a binary comes, or its name; 0: half an hour
	Silence  time.Duration                                    // how long a service that may be building may answer nothing at all; 0: 10 seconds
	MaxSize  int64                                            // of a binary, in bytes; 0: 1 GiB
	Pause    func(ctx context.Context, d time.Duration) error // waits between tries; nil: by the clock
}

// Binary is the binary that a list resolves to at a service.
type Binary struct {
	URL      string // canonical; it names these bytes for ever
	Platform k6x.Platform
	List     k6x.List // pinned
	Digest   string   // hex SHA-256
	Size     int64    // bytes
	Warnings []string // of its build
}

// Nearest returns the digest (hex SHA-256) of a binary that is much like that of a pinned list, and a function that opens it; "" if there is none.
type Nearest func(platform k6x.Platform, pinned k6x.List) (digest string, open func() (io.ReadCloser, error))

// Step is a phase of a request.
type Step int

// The steps, of which some come again.
const (
	Resolving   Step = iota // asking which versions the list has: URL
	Building                // asking for the binary, which may mean that it is built: URL, Doing
	Downloading             // bytes have come: Done of Total
)

// Event reports progress.
type Event struct {
	Step  Step
	URL   string
	Doing string // the step of the build at the service, in a word such as compiling; "": it does not say
	Done  int64  // bytes, or modules or packages of the build
	Total int64  // of the same; 0: not known
}

func (c *Client) report(e Event) {
	if c.Progress != nil {
		c.Progress(e)
	}
}
