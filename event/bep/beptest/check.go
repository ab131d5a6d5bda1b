// Package beptest has the rules that a stream of the Build Event Protocol keeps, for tests of programs that write one.
package beptest

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"k6x/event/bep/pb"
)

// payloads has the name of the payload of each id whose name is another.
var payloads = map[protoreflect.Name]protoreflect.Name{
	"pattern": "expanded", "pattern_skipped": "expanded", "target_configured": "configured", "target_completed": "completed",
	"action_completed": "action", "named_set": "named_set_of_files", "build_finished": "finished",
}

// Check returns an error that joins all rules that a whole stream breaks, or nil. Ids and payloads that package pb does
// not have are taken as they are.
func Check(events []*pb.BuildEvent) error {
	c := checker{announced: make(map[string]bool), sent: make(map[string]bool)}
	for n, e := range events {
		c.n = n
		c.event(e, n == len(events)-1)
	}
	if len(events) == 0 || !c.finished {
		c.n = len(events)
		c.fail("the build has not finished")
	}
	return errors.Join(c.errs...)
}

type checker struct {
	n               int
	announced, sent map[string]bool
	finished        bool
	progressEnded   bool
	errs            []error
}

func (c *checker) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("event %d: %s", c.n, fmt.Sprintf(format, args...)))
}

func (c *checker) event(e *pb.BuildEvent, last bool) {
	id := key(e.Id)
	if c.n == 0 {
		c.first(e)
	} else if !c.announced[id] {
		c.fail("%v was not announced", e.Id)
	}
	if c.sent[id] {
		c.fail("%v was sent before", e.Id)
	}
	c.sent[id], c.announced[id] = true, true
	for _, child := range e.Children {
		c.announced[key(child)] = true
	}
	c.payload(e)
	c.order(e)

	whole := len(c.sent) == len(c.announced)
	switch {
	case e.LastMessage && !whole:
		c.fail("the last message, and %d announced events have not come", len(c.announced)-len(c.sent))
	case e.LastMessage && !last:
		c.fail("the last message, and others follow")
	case last && !e.LastMessage:
		c.fail("the stream ends without a last message")
	}
}

// first checks the event that needs no announcement.
func (c *checker) first(e *pb.BuildEvent) {
	started := e.GetStarted()
	if started == nil {
		c.fail("the first event is %v, not started", e.Id)
		return
	}
	if started.Uuid == "" || started.StartTimeMillis == 0 {
		c.fail("started without an id or a time")
	}
	patterns, finished := 0, 0
	for _, child := range e.Children {
		if child.GetPattern() != nil {
			patterns++
		}
		if child.GetBuildFinished() != nil {
			finished++
		}
	}
	if patterns != 1 || finished != 1 {
		c.fail("started announces %d patterns and %d ends", patterns, finished)
	}
}

// payload checks that the payload is of the kind of the id, or aborted.
func (c *checker) payload(e *pb.BuildEvent) {
	idField := field(e.Id, "id")
	payload := field(e, "payload")
	if idField == "" || payload == "" || payload == "aborted" { // not in package pb, or in place of any
		if idField != "" && payload == "" && len(e.ProtoReflect().GetUnknown()) == 0 {
			c.fail("%v has no payload", e.Id)
		}
		return
	}
	want, ok := payloads[idField]
	if !ok {
		want = idField
	}
	if payload != want {
		c.fail("%v has a payload of %s", e.Id, payload)
	}
}

// field returns the name of the field of a oneof that is set.
func field(m proto.Message, oneof protoreflect.Name) protoreflect.Name {
	r := m.ProtoReflect()
	if f := r.WhichOneof(r.Descriptor().Oneofs().ByName(oneof)); f != nil {
		return f.Name()
	}
	return ""
}

// order checks what has to come before what.
func (c *checker) order(e *pb.BuildEvent) {
	aborted := e.GetAborted() != nil
	switch id := e.Id.Id.(type) {
	case *pb.BuildEventId_Progress:
		next := 0
		for _, child := range e.Children {
			if child.GetProgress() != nil {
				next++
			}
		}
		if c.progressEnded || next > 1 {
			c.fail("progress after its end, or with two that follow it")
		}
		c.progressEnded = next == 0
	case *pb.BuildEventId_TargetConfigured:
		if completed := child(e, func(id *pb.BuildEventId) bool { return id.GetTargetCompleted() != nil }); !aborted && completed == nil {
			c.fail("%v announces no completion", e.Id)
		} else if !aborted && completed.GetTargetCompleted().Label != id.TargetConfigured.Label {
			c.fail("%v announces the completion of another target", e.Id)
		}
	case *pb.BuildEventId_TargetCompleted:
		c.configuration(id.TargetCompleted.Configuration)
		completed := e.GetCompleted()
		if completed != nil && !completed.Success && len(e.Children) == 0 {
			c.fail("%v failed without a cause", e.Id)
		}
		for _, group := range completed.GetOutputGroup() {
			c.sets(group.FileSets)
		}
	case *pb.BuildEventId_ActionCompleted:
		c.configuration(id.ActionCompleted.Configuration)
	case *pb.BuildEventId_NamedSet:
		c.sets(e.GetNamedSetOfFiles().GetFileSets())
	case *pb.BuildEventId_BuildFinished:
		c.finished = true
		if f := e.GetFinished(); f != nil && f.OverallSuccess != (f.GetExitCode().GetCode() == 0) {
			c.fail("success is %v, and the exit code %d", f.OverallSuccess, f.GetExitCode().GetCode())
		}
	}
}

// child returns the first of the children that fits.
func child(e *pb.BuildEvent, fits func(*pb.BuildEventId) bool) *pb.BuildEventId {
	for _, id := range e.Children {
		if fits(id) {
			return id
		}
	}
	return nil
}

func (c *checker) configuration(id *pb.BuildEventId_ConfigurationId) {
	if id == nil || id.Id == "none" {
		return
	}
	if !c.sent[key(&pb.BuildEventId{Id: &pb.BuildEventId_Configuration{Configuration: id}})] {
		c.fail("configuration %q was not sent before it is used", id.Id)
	}
}

func (c *checker) sets(ids []*pb.BuildEventId_NamedSetOfFilesId) {
	for _, id := range ids {
		if !c.sent[key(&pb.BuildEventId{Id: &pb.BuildEventId_NamedSet{NamedSet: id}})] {
			c.fail("set %q was not sent before it is used", id.Id)
		}
	}
}

func key(id *pb.BuildEventId) string {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(id)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
