// Package bestest has a Build Event Service that records what it is sent, and misbehaves as a test wants. It takes a
// stream only if its numbers have no gap.
package bestest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	build "google.golang.org/genproto/googleapis/devtools/build/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"k6x/event/bep/pb"
)

// Recorder is the server. Its fields are set before it starts.
type Recorder struct {
	build.UnimplementedPublishBuildEventServer

	// Took is called with the number of each event that a stream brings, once it is recorded. It says whether that is
	// acknowledged; an error ends the stream with its status.
	Took func(number int64) (ack bool, err error)
	// Opened is called at the start of each stream; an error ends it.
	Opened func() error
	// Ended is called when the client has sent all; what it returns is the status of the stream.
	Ended func() error
	// Lifecycle is called with each lifecycle event; an error is its answer.
	Lifecycle func() error

	mu        sync.Mutex // guards what follows
	events    []*build.OrderedBuildEvent
	lifecycle []*build.OrderedBuildEvent
	streams   int
	headers   metadata.MD
}

// Start serves until the test ends, and returns the address.
func (r *Recorder) Start(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	build.RegisterPublishBuildEventServer(server, r)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// Events returns the events of the protocol that were recorded, each once.
func (r *Recorder) Events(t *testing.T) []*pb.BuildEvent {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []*pb.BuildEvent
	for _, o := range r.events {
		any := o.Event.GetBazelEvent()
		if any == nil {
			continue
		}
		e := new(pb.BuildEvent)
		if err := any.UnmarshalTo(e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// Numbers returns how many events were recorded, the one that ends the stream too, and by how many streams.
func (r *Recorder) Numbers() (events, streams int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events), r.streams
}

// Order returns the lifecycle events, each as type/number/build or invocation.
func (r *Recorder) Order() (order []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.lifecycle {
		of := "build"
		if o.StreamId.InvocationId != "" {
			of = "invocation"
		}
		result := ""
		switch e := o.Event.Event.(type) {
		case *build.BuildEvent_InvocationAttemptFinished_:
			result = e.InvocationAttemptFinished.InvocationStatus.Result.String()
		case *build.BuildEvent_BuildFinished_:
			result = e.BuildFinished.Status.Result.String()
		}
		order = append(order, fmt.Sprintf("%T %d %s %s", o.Event.Event, o.SequenceNumber, of, result))
	}
	return order
}

// Headers returns those of the last stream.
func (r *Recorder) Headers() metadata.MD {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.headers
}

// PublishLifecycleEvent implements the service.
func (r *Recorder) PublishLifecycleEvent(_ context.Context, request *build.PublishLifecycleEventRequest) (*emptypb.Empty, error) {
	if r.Lifecycle != nil {
		if err := r.Lifecycle(); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lifecycle = append(r.lifecycle, request.BuildEvent)
	return &emptypb.Empty{}, nil
}

// PublishBuildToolEventStream implements the service.
func (r *Recorder) PublishBuildToolEventStream(stream build.PublishBuildEvent_PublishBuildToolEventStreamServer) error {
	r.mu.Lock()
	r.streams++
	r.headers, _ = metadata.FromIncomingContext(stream.Context())
	r.mu.Unlock()
	if r.Opened != nil {
		if err := r.Opened(); err != nil {
			return err
		}
	}
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			if r.Ended != nil {
				return r.Ended()
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.record(request.OrderedBuildEvent); err != nil {
			return err
		}
		ack := true
		if r.Took != nil {
			if ack, err = r.Took(request.OrderedBuildEvent.SequenceNumber); err != nil {
				return err
			}
		}
		if !ack {
			continue
		}
		response := &build.PublishBuildToolEventStreamResponse{
			StreamId: request.OrderedBuildEvent.StreamId, SequenceNumber: request.OrderedBuildEvent.SequenceNumber}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// record keeps an event that is the next one; one that was kept before has to be the same.
func (r *Recorder) record(o *build.OrderedBuildEvent) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch n := o.SequenceNumber; {
	case n == int64(len(r.events))+1:
		r.events = append(r.events, o)
	case n < 1 || n > int64(len(r.events)):
		return status.Errorf(codes.FailedPrecondition, "event %d comes after %d", n, len(r.events))
	case string(r.events[n-1].Event.GetBazelEvent().GetValue()) != string(o.Event.GetBazelEvent().GetValue()) ||
		!r.events[n-1].Event.EventTime.AsTime().Equal(o.Event.EventTime.AsTime()):
		return status.Errorf(codes.FailedPrecondition, "event %d comes again and is another one", n)
	}
	return nil
}
