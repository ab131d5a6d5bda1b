package bep

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"k6x/event/bep/pb"
)

// Announcer sends the events of one stream so that each was announced, and the last one says that it is. It is not safe
// for concurrent use.
type Announcer struct {
	send     Sink
	open     []*pb.BuildEventId // announced and not sent, in the order in which they were announced
	known    map[string]bool    // ids that were announced or sent, but those of progress, which are the most and never come again
	progress int32              // number of the next one
}

// NewAnnouncer returns one that begins a stream.
func NewAnnouncer(send Sink) *Announcer {
	return &Announcer{send: send, known: make(map[string]bool)}
}

// Resume returns one that goes on with a stream of which some events were sent. It reports whether the last of them has
// ended the stream.
func Resume(sent []*pb.BuildEvent, send Sink) (a *Announcer, ended bool) {
	a = NewAnnouncer(func(*pb.BuildEvent) {})
	for _, e := range sent {
		if e.LastMessage {
			ended = true
		}
		if p := e.Id.GetProgress(); p != nil {
			a.progress = p.OpaqueCount + 1
		}
		a.take(e)
	}
	a.send = send
	return a, ended
}

// Open reports whether an id was announced, and its event not sent yet.
func (a *Announcer) Open(id *pb.BuildEventId) bool {
	return slices.ContainsFunc(a.open, func(o *pb.BuildEventId) bool { return proto.Equal(o, id) })
}

// Post sends an event. One that was not announced is announced first, by an event of progress.
func (a *Announcer) Post(e *pb.BuildEvent) {
	if begun := len(a.known) > 0; begun && e.Id.GetProgress() == nil && !a.Open(e.Id) {
		a.postProgress(nil, e.Id)
	}
	a.take(e)
	e.LastMessage = len(a.open) == 0
	a.send(e)
}

// Output sends what tools printed.
func (a *Announcer) Output(text string) { a.postProgress(&pb.Progress{Stderr: text}) }

// Finish sends the event of the end of the build, and for all that was announced and did not come, aborted. Then come the
// events of the tail, which it announces.
func (a *Announcer) Finish(finished *pb.BuildFinished, aborted *pb.Aborted, tail ...*pb.BuildEvent) {
	e := &pb.BuildEvent{Id: finishedID(), Payload: &pb.BuildEvent_Finished{Finished: finished}}
	for _, t := range tail {
		e.Children = append(e.Children, t.Id)
	}
	if !a.known[key(e.Id)] || a.Open(e.Id) { // else the stream was cut behind it
		a.Post(e)
	}
	for _, id := range slices.Clone(a.open) {
		switch {
		case id.GetProgress() != nil:
			a.Post(&pb.BuildEvent{Id: id, Payload: &pb.BuildEvent_Progress{Progress: &pb.Progress{}}})
		case slices.ContainsFunc(tail, func(t *pb.BuildEvent) bool { return proto.Equal(t.Id, id) }):
		default:
			a.Post(&pb.BuildEvent{Id: id, Payload: &pb.BuildEvent_Aborted{Aborted: aborted}})
		}
	}
	for _, t := range tail {
		if a.Open(t.Id) {
			a.Post(t)
		}
	}
}

// postProgress sends an event of progress that announces the next one, and ids.
func (a *Announcer) postProgress(progress *pb.Progress, ids ...*pb.BuildEventId) {
	if progress == nil {
		progress = &pb.Progress{}
	}
	id := progressID(a.progress)
	a.progress++
	a.Post(&pb.BuildEvent{
		Id:       id,
		Children: append([]*pb.BuildEventId{progressID(a.progress)}, ids...),
		Payload:  &pb.BuildEvent_Progress{Progress: progress},
	})
}

// take notes that an event is sent.
func (a *Announcer) take(e *pb.BuildEvent) {
	a.open = slices.DeleteFunc(a.open, func(o *pb.BuildEventId) bool { return proto.Equal(o, e.Id) })
	a.note(e.Id)
	for _, id := range e.Children {
		if a.note(id) {
			a.open = append(a.open, id)
		}
	}
}

// note reports whether an id is new.
func (a *Announcer) note(id *pb.BuildEventId) bool {
	if id.GetProgress() != nil {
		return id.GetProgress().OpaqueCount >= a.progress
	}
	k := key(id)
	if a.known[k] {
		return false
	}
	a.known[k] = true
	return true
}

// key returns an id as a key of maps.
func key(id *pb.BuildEventId) string {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(id)
	if err != nil {
		return err.Error() // a string that is not UTF-8, of which we make none
	}
	return string(text)
}
