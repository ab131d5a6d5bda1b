package service

import (
	"errors"
	"net/http"

	"k6x/event"
	"k6x/event/bep"
	"k6x/event/bep/pb"
	"k6x/history"
)

// The forms in which clients get what happens; the last two are those of files of the Build Event Protocol.
const (
	linesOfJSON    = "application/x-ndjson"
	sentEvents     = "text/event-stream"
	protocolBinary = "application/protobuf"
	protocolJSON   = "application/protobuf+json"
)

// protocolPaths are the forms at paths of their own, for clients that cannot set a header.
var protocolPaths = map[string]string{".bep": protocolBinary, ".json": protocolJSON}

// eventForm returns the one of these forms that a client names and likes best; without one it gets lines of JSON.
func eventForm(r *http.Request, forms ...string) string {
	accept := r.Header.Values("Accept")
	if best := preferred(accept, append([]string{linesOfJSON}, forms...)...); names(accept, best) {
		return best
	}
	return linesOfJSON
}

// protocolEvents answers with the stream of a build in the Build Event Protocol, each event at once, until the build ends. Of one of which events are not
// kept any more it is made of the result. A stream without its last event was cut.
func (s *Service) protocolEvents(w *response, r *http.Request, result *history.Result, form string) error {
	format, media := bep.Binary, form
	if form == protocolJSON {
		format, media = bep.JSON, form+"; charset=utf-8"
	}
	w.Header().Set("Vary", "Accept")
	beginStream(w, media)
	if r.Method == http.MethodHead {
		return nil
	}
	var failed error
	job := bep.Job{URL: s.absolute(r, ""), Version: s.cfg.Version.K6x, Send: func(e *pb.BuildEvent) {
		record, err := format(e)
		if err == nil && failed == nil {
			_, err = w.Write(record)
		}
		failed = errors.Join(failed, err)
	}}
	job.Publish(event.Event{Type: event.Resolved, Toolchain: result.Toolchain}) // there may be no room for that event any more
	told := false
	s.follow(r.Context(), result, 0, nil, func(_ int, e event.Event) error {
		told = true
		job.Publish(e)
		return errors.Join(failed, http.NewResponseController(w).Flush())
	})
	if !told && result.Outcome != history.Running {
		for _, e := range result.Events() {
			job.Publish(e)
		}
	}
	return nil // if something failed, the client is gone
}
