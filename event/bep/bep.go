// Package bep writes what happens to builds as streams of Bazel's Build Event Protocol, which readers of other tools know.
//
// One command is one [Invocation], and so is each build of a service, as a [Job]. It turns events of package event into those of the
// protocol, which a [Sink] takes: a [File], or a client of the Build Event Service.
//
//	started ─► command lines, options, status, metadata ─► pattern ─► target_configured ─► (progress, configuration, fetch, action)…
//	─► named_set ─► target_completed ─► build_finished ─► progress ─► build_tool_logs ─► build_metrics
//
// The protocol has three rules, which [Announcer] keeps: each event but the first is announced by one before it, among its
// children; what is announced comes, if need be as aborted; and the event after which nothing is announced any more, and
// none other, says that it is the last.
//
// Files: announce.go keeps the rules, invocation.go makes the events, job.go those of one build of a service, file.go writes and reads files.
package bep

import "k6x/event/bep/pb"

// Sink takes the events of one stream in their order. It must return soon, and must not change an event.
type Sink func(*pb.BuildEvent)

// Tee returns a sink that gives each event to all sinks, in their order.
func Tee(sinks ...Sink) Sink {
	return func(e *pb.BuildEvent) {
		for _, s := range sinks {
			s(e)
		}
	}
}
