package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"time"

	"k6x"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
)

const (
	keepAlive     = 15 * time.Second // without an event, a stream sends a comment or an empty line
	newestChanges = 100              // entries that the page of /changes shows
	maxPage       = 1000             // entries of one answer of /changes
	maxPoll       = time.Minute
)

// stream writes values as server-sent events or lines of JSON, each at once.
type stream struct {
	w    *response
	sent bool // server-sent events
}

func newStream(w *response, r *http.Request) *stream {
	form := eventForm(r, sentEvents)
	w.Header().Set("Vary", "Accept")
	beginStream(w, form)
	return &stream{w: w, sent: form == sentEvents}
}

// beginStream begins an answer of which each part is sent at once.
func beginStream(w *response, media string) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // nginx would hold it back
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // a client that has the header knows that it is heard; one that is gone is noticed at the next write
}

// write writes a value under its number.
func (s *stream) write(number int64, kind string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if s.sent {
		_, err = fmt.Fprintf(s.w, "id: %d\nevent: %s\ndata: %s\n\n", number, kind, text)
	} else {
		_, err = fmt.Fprintf(s.w, "%s\n", text)
	}
	return errors.Join(err, s.flush())
}

// alive writes what says that the stream goes on.
func (s *stream) alive() error {
	text := "\n"
	if s.sent {
		text = ":\n\n"
	}
	_, err := io.WriteString(s.w, text)
	return errors.Join(err, s.flush())
}

func (s *stream) flush() error { return http.NewResponseController(s.w).Flush() }

// buildEvent is an event of a build as a client gets it.
type buildEvent struct {
	Number  int64           `json:"number"`
	Type    event.Type      `json:"type"`
	Time    time.Time       `json:"time"`
	Path    string          `json:"path"`
	Step    string          `json:"step,omitempty"`
	Item    string          `json:"item,omitempty"`
	Done    int64           `json:"done,omitempty"`
	Total   int64           `json:"total,omitempty"`
	Seconds history.Seconds `json:"seconds,omitempty"`
	Output  string          `json:"output,omitempty"`
	Digest  string          `json:"digest,omitempty"`
	Size    int64           `json:"size,omitempty"`
	Kind    string          `json:"kind,omitempty"`
	Error   string          `json:"error,omitempty"`
	Hint    string          `json:"hint,omitempty"`
}

func newBuildEvent(number int, e event.Event) buildEvent {
	b := buildEvent{Number: int64(number), Type: e.Type, Time: e.Time, Path: e.Path, Item: e.Item, Done: e.Done, Total: e.Total,
		Seconds: history.Seconds(e.Duration), Output: e.Output, Digest: e.Digest, Size: e.Size}
	if e.Step != 0 {
		b.Step = e.Step.String()
	}
	if e.Failure != nil {
		b.Kind, b.Error, b.Hint = e.Failure.Kind.String(), e.Failure.Message, e.Failure.Hint
	}
	return b
}

// buildEvents answers GET of /builds/{id}/events: the events of a build, those of the past and then those that come, until it ends. Of one that ended
// behind what a client asks for there is the last event at least: to an answer without one an EventSource would come back for ever. Paths with an ending
// are those of [protocolPaths].
func (s *Service) buildEvents(w *response, r *http.Request) error {
	result, err := s.result(r, true)
	if err != nil {
		return err
	}
	form := protocolPaths[path.Ext(r.URL.Path)]
	if form == "" {
		form = eventForm(r, sentEvents, protocolBinary, protocolJSON)
	}
	if form == protocolBinary || form == protocolJSON {
		return s.protocolEvents(w, r, result, form)
	}
	after, err := lastEventID(r)
	if err != nil {
		return err
	}
	after = min(after, 1<<30)
	out := newStream(w, r)
	if r.Method == http.MethodHead {
		return nil
	}
	told := false
	s.follow(r.Context(), result, int(after), out.alive, func(number int, e event.Event) error {
		told = true
		return out.write(int64(number), string(e.Type), newBuildEvent(number, e))
	})
	if !told && result.Outcome != history.Running {
		last := result.Last()
		_ = out.write(after+1, string(last.Type), newBuildEvent(int(after)+1, last)) // the client is gone
	}
	return nil
}

// buildLogByID answers GET of /builds/{id}/log: what the tools print, as it comes.
func (s *Service) buildLogByID(w *response, r *http.Request) error {
	result, err := s.result(r, true)
	if err != nil {
		return err
	}
	const media = "text/plain; charset=utf-8"
	if result.Outcome != history.Running { // all of it, of which what was told as it came is a part
		log, modified, err := s.cfg.Logs.Open(r.Context(), history.LogKey(result.ID))
		if err == nil {
			defer log.Close()
			w.Header().Set("Content-Type", media)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeContent(w, r, "", modified, log)
			return nil
		}
		if result.Log && !s.cfg.Builds.Events.Known(result.ID) {
			if k6x.KindOf(err) == k6x.Unavailable {
				return err
			}
			return k6x.Errorf(k6x.NotFound, "the log of build %s is not kept any more", result.ID)
		}
	}
	beginStream(w, media)
	if r.Method == http.MethodHead {
		return nil
	}
	s.follow(r.Context(), result, 0, nil, func(_ int, e event.Event) error {
		if e.Type != event.Output {
			return nil
		}
		_, err := io.WriteString(w, e.Output)
		return errors.Join(err, http.NewResponseController(w).Flush())
	})
	return nil
}

// follow calls f with the events of a build behind number after, until it ends, the client goes or the service drains. Idle is called when nothing
// happened for a while; nil: it is not wanted.
func (s *Service) follow(ctx context.Context, result *history.Result, after int, idle func() error, f func(int, event.Event) error) {
	ctx, cancel := s.whileServing(ctx)
	defer cancel()
	type item struct {
		number int
		event.Event
	}
	subscribe := s.cfg.Builds.Events.Subscribe
	if result.Outcome == history.Running && !s.cfg.Builds.Events.Known(result.ID) {
		subscribe = s.cfg.Builds.Live.Subscribe
	}
	events := make(chan item)
	go func() {
		defer close(events)
		for number, e := range subscribe(ctx, result.ID, after) {
			select {
			case events <- item{number, e}:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok || f(e.number, e.Event) != nil { // the end, or the client is gone
				return
			}
		case <-tick.C:
			if idle != nil && idle() != nil {
				return
			}
		}
	}
}

// changes answers GET of /changes: the entries of the history behind a number, as lines of JSON; with wait=30s, once there is one; as server-sent
// events, for as long as the client listens.
func (s *Service) changes(w *response, r *http.Request) error {
	if s.wantsPage(r) {
		h, extension := s.cfg.Builds.History, r.URL.Query().Get("extension")
		return s.show(w, r, "changes", &Changes{Newest: h.Newest(extension, newestChanges), Last: h.Last(), Extension: extension})
	}
	since, err := lastEventID(r)
	if err != nil {
		return err
	}
	var wait time.Duration
	if text := r.URL.Query().Get("wait"); text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 {
			return k6x.Errorf(k6x.Invalid, "wait=%q is no duration, such as 30s", k6x.Clip(text))
		}
	}
	ctx, cancel := s.whileServing(r.Context())
	defer cancel()
	h := s.cfg.Builds.History
	page, last, err := h.Changes(ctx, since, maxPage)
	if wait > 0 && eventForm(r, sentEvents) != sentEvents && r.Method == http.MethodGet {
		waiting, stop := context.WithTimeout(ctx, min(wait, maxPoll))
		for err == nil && len(page) == 0 && h.Wait(waiting, last) == nil { // there may be none then, which is an answer too
			page, last, err = h.Changes(ctx, last, maxPage)
		}
		stop()
	}
	if err != nil {
		return s.gone(err)
	}
	w.Header().Set(lastHeader, strconv.FormatInt(h.Last(), 10))
	out := newStream(w, r)
	if r.Method == http.MethodHead {
		return nil
	}
	for {
		for _, n := range page {
			if out.write(n.Number, string(n.Type), n) != nil {
				return nil
			}
		}
		if !out.sent || ctx.Err() != nil {
			return nil
		}
		waiting, stop := context.WithTimeout(ctx, keepAlive)
		idle := h.Wait(waiting, last) != nil
		stop()
		if idle && out.alive() != nil {
			return nil
		}
		if page, last, err = h.Changes(ctx, last, maxPage); err != nil {
			return nil // the client asks again, and is told
		}
	}
}

// gone gives an error of entries that are not kept its words.
func (s *Service) gone(err error) error {
	if gone, ok := errors.AsType[*journal.GoneError](err); ok {
		return k6x.Errorf(k6x.Gone, "changes before number %d are not kept any more", gone.First).
			WithHint("Begin at since=%d.", gone.First-1).WithCause(gone)
	}
	return err
}
