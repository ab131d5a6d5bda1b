package bes

import (
	"context"
	"time"

	build "google.golang.org/genproto/googleapis/devtools/build/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// begin says that the build is queued and its only attempt begins.
func (s *Stream) begin(ctx context.Context) error {
	if err := s.lifecycle(ctx, "", 1, &build.BuildEvent{Event: &build.BuildEvent_BuildEnqueued_{BuildEnqueued: &build.BuildEvent_BuildEnqueued{}}}); err != nil {
		return err
	}
	return s.lifecycle(ctx, s.invocation, 1, &build.BuildEvent{Event: &build.BuildEvent_InvocationAttemptStarted_{
		InvocationAttemptStarted: &build.BuildEvent_InvocationAttemptStarted{AttemptNumber: 1}}})
}

// end says how the attempt, and with it the build, ended.
func (s *Stream) end(ctx context.Context) error {
	s.mu.Lock()
	result := &build.BuildStatus{Result: s.result}
	s.mu.Unlock()
	if err := s.lifecycle(ctx, s.invocation, 2, &build.BuildEvent{Event: &build.BuildEvent_InvocationAttemptFinished_{
		InvocationAttemptFinished: &build.BuildEvent_InvocationAttemptFinished{InvocationStatus: result}}}); err != nil {
		return err
	}
	return s.lifecycle(ctx, "", 2, &build.BuildEvent{Event: &build.BuildEvent_BuildFinished_{
		BuildFinished: &build.BuildEvent_BuildFinished{Status: result}}})
}

// lifecycle sends an event of the build, or of its invocation.
func (s *Stream) lifecycle(ctx context.Context, invocation string, number int64, e *build.BuildEvent) error {
	if !s.client.cfg.Lifecycle {
		return nil
	}
	e.EventTime = timestamppb.New(time.Now())
	request := &build.PublishLifecycleEventRequest{
		ServiceLevel: build.PublishLifecycleEventRequest_INTERACTIVE,
		ProjectId:    s.client.cfg.ProjectID,
		BuildEvent: &build.OrderedBuildEvent{
			StreamId:       &build.StreamId{BuildId: s.build, InvocationId: invocation, Component: build.StreamId_CONTROLLER},
			SequenceNumber: number,
			Event:          e,
		},
	}
	return s.client.try(ctx, func(ctx context.Context) error {
		_, err := s.client.calls.PublishLifecycleEvent(ctx, request)
		return err
	})
}
