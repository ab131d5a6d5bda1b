package bes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	build "google.golang.org/genproto/googleapis/devtools/build/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"k6x/event/bep/pb"
)

var errTooMuch = fmt.Errorf("more than %d MiB are not acknowledged", maxUnacked>>20)

// Stream sends the events of one invocation.
type Stream struct {
	client            *Client
	build, invocation string // UUIDs
	id                *build.StreamId
	done              chan struct{}           // closed when nothing is sent any more
	stop              context.CancelCauseFunc // ends the stream, of which the backend is told
	quit              context.CancelFunc      // ends all

	mu      sync.Mutex // guards what follows
	unacked []*build.OrderedBuildEvent
	size    int   // bytes of those
	acked   int64 // number of the last that was acknowledged
	sent    int64 // number of the last that was sent on this connection
	last    int64 // number of the last that was taken
	whole   bool  // the last one was taken
	changed chan struct{}
	result  build.BuildStatus_Result
	err     error
}

// Open begins a stream. Both ids are UUIDs.
func (c *Client) Open(buildID, invocationID string) *Stream {
	ctx, quit := context.WithCancel(context.Background())
	sending, stop := context.WithCancelCause(ctx)
	s := &Stream{
		client:     c,
		build:      buildID,
		invocation: invocationID,
		id:         &build.StreamId{BuildId: buildID, InvocationId: invocationID, Component: build.StreamId_TOOL},
		done:       make(chan struct{}),
		stop:       stop,
		quit:       quit,
		changed:    make(chan struct{}),
	}
	go s.run(ctx, sending)
	return s
}

// Publish is the sink of the stream. It returns at once.
func (s *Stream) Publish(e *pb.BuildEvent) {
	event, err := anypb.New(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.fail(err)
		return
	}
	s.take(&build.BuildEvent{Event: &build.BuildEvent_BazelEvent{BazelEvent: event}})
	if f := e.GetFinished(); f != nil {
		if s.result = build.BuildStatus_COMMAND_FAILED; f.GetExitCode().GetCode() == 0 {
			s.result = build.BuildStatus_COMMAND_SUCCEEDED
		}
	}
	if e.LastMessage {
		s.take(&build.BuildEvent{Event: &build.BuildEvent_ComponentStreamFinished{
			ComponentStreamFinished: &build.BuildEvent_BuildComponentStreamFinished{Type: build.BuildEvent_BuildComponentStreamFinished_FINISHED}}})
		s.whole = true
	}
}

// take queues an event with the next number. The caller holds the lock.
func (s *Stream) take(e *build.BuildEvent) {
	if s.err != nil {
		return
	}
	e.EventTime = timestamppb.New(time.Now())
	if s.size += proto.Size(e); s.size > maxUnacked {
		s.fail(errTooMuch)
		return
	}
	s.last++
	s.unacked = append(s.unacked, &build.OrderedBuildEvent{StreamId: s.id, SequenceNumber: s.last, Event: e})
	close(s.changed)
	s.changed = make(chan struct{})
}

// fail ends the stream. The caller holds the lock.
func (s *Stream) fail(err error) {
	if s.err == nil {
		s.err = err
		s.unacked, s.size = nil, 0
		s.stop(err)
	}
}

// Close waits until the backend has acknowledged the last event, which has to be taken before, or until ctx ends. It
// returns why not all of them were. The stream is over then.
func (s *Stream) Close(ctx context.Context) error {
	select {
	case <-s.done:
	case <-ctx.Done():
		s.mu.Lock()
		s.fail(fmt.Errorf("no answer in time: %w", ctx.Err()))
		s.mu.Unlock()
		s.quit()
		<-s.done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.client.failed(s.err)
	}
	return nil
}

// run sends all there is, as long as sending lives, with what goes before and after.
func (s *Stream) run(ctx, sending context.Context) {
	defer close(s.done)
	defer s.quit()
	err := s.begin(ctx)
	if err == nil {
		err = errors.Join(s.send(sending), s.end(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.fail(err)
	}
	s.stop(nil)
}

// send sends the events, anew from the last acknowledgement as long as that helps.
func (s *Stream) send(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		before := s.acknowledged()
		err := s.connect(ctx)
		if s.acknowledged() > before {
			attempt = 0
		}
		if err == nil || final(err) || attempt == retries || ctx.Err() != nil {
			return err
		}
		if err := s.client.cfg.wait(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
}

var errUnacknowledged = errors.New("the backend ended the stream before it had acknowledged all events")

// connect opens a stream of gRPC, sends what is not acknowledged and what comes, until all is.
func (s *Stream) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(ctx, s.client.headers))
	defer cancel()
	s.mu.Lock()
	s.sent = s.acked
	s.mu.Unlock()
	calls, err := s.client.calls.PublishBuildToolEventStream(ctx)
	if err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() {
		err := s.receive(calls)
		cancel() // the sender may wait for an event
		received <- err
	}()
	s.write(ctx, calls)
	return <-received // this has the cause, also if sending failed
}

// write sends events in their order, each when it is there. It returns after the last, or when it cannot go on.
func (s *Stream) write(ctx context.Context, calls build.PublishBuildEvent_PublishBuildToolEventStreamClient) {
	for {
		e := s.next(ctx)
		if e == nil {
			break
		}
		if calls.Send(&build.PublishBuildToolEventStreamRequest{OrderedBuildEvent: e, ProjectId: s.client.cfg.ProjectID}) != nil {
			return
		}
	}
	if ctx.Err() == nil {
		calls.CloseSend()
	}
}

// next returns the event to send, once it is there; nil if none will be, or ctx ends.
func (s *Stream) next(ctx context.Context) *build.OrderedBuildEvent {
	for {
		s.mu.Lock()
		if at := s.sent - s.acked; at < int64(len(s.unacked)) {
			s.sent++
			defer s.mu.Unlock()
			return s.unacked[at]
		}
		whole, changed := s.whole, s.changed
		s.mu.Unlock()
		if whole {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// receive takes acknowledgements until the backend ends the stream.
func (s *Stream) receive(calls build.PublishBuildEvent_PublishBuildToolEventStreamClient) error {
	for {
		ack, err := calls.Recv()
		s.mu.Lock()
		over := s.whole && s.acked == s.last
		switch {
		case err == io.EOF && over:
			s.mu.Unlock()
			return nil
		case err == io.EOF:
			err = finalError{errUnacknowledged}
		case err != nil && over:
			err = finalError{fmt.Errorf("an error behind the last event: %w", err)}
		case err == nil && (s.acked == s.sent || ack.SequenceNumber != s.acked+1):
			err = status.Errorf(codes.FailedPrecondition, "event %d was acknowledged, after %d of %d that were sent", ack.SequenceNumber, s.acked, s.sent)
		case err == nil:
			s.size -= proto.Size(s.unacked[0].Event)
			s.unacked[0] = nil
			s.unacked = s.unacked[1:]
			s.acked++
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (s *Stream) acknowledged() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}
