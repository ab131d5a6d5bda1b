package bep_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"k6x"
	"k6x/event"
	"k6x/event/bep"
	"k6x/event/bep/beptest"
	"k6x/event/bep/pb"
)

const redis = "/linux/amd64/k6@v1.8.1,k6/x/redis@v0.3.6"

var failure = &k6x.Error{Kind: k6x.BuildFailed, Message: "it does not compile", Output: "x.go:1: undefined: y\n"}

// What is not UTF-8 does not break a stream.
func TestStreamOfStrangeTexts(t *testing.T) {
	const bad = "\xff.js"
	for name, format := range map[string]bep.Format{"JSON": bep.JSON, "binary": bep.Binary, "text": bep.Text} {
		var events []*pb.BuildEvent
		i := bep.Start(bep.Config{
			ID: "7b1d9a1e-0000-4000-8000-000000000000", Command: "build", Args: []string{bad}, Dir: bad, Pattern: []string{bad},
			Options: []bep.Option{{Name: "with", Value: bad}}, Status: map[string]string{"A": bad}, Metadata: map[string]string{"A": bad},
		}, func(e *pb.BuildEvent) {
			if _, err := format(e); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			events = append(events, e)
		})
		i.Resolved(redis)
		i.Publish(event.Event{Path: redis, Type: event.Started})
		i.Publish(event.Event{Path: redis, Type: event.Output, Output: bad})
		i.Finish(1, k6x.Errorf(k6x.Invalid, "%s", bad))
		if err := beptest.Check(events); err != nil {
			t.Error(err)
		}
	}
}

// streams are those of builds that end in each way there is.
var streams = map[string]func(i *bep.Invocation){
	"success": func(i *bep.Invocation) {
		i.Resolved(redis)
		build(i, redis)
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9), Duration: 8 * time.Second})
		i.Publish(event.Event{Path: redis, Type: event.Stored, Time: at(10), Digest: strings.Repeat("ab", 32), Size: 50})
		i.Finish(0, nil)
	},
	"a binary that is kept": func(i *bep.Invocation) {
		i.Resolved(redis)
		i.Publish(event.Event{Path: redis, Type: event.Stored, Time: at(1), Digest: strings.Repeat("ab", 32), Size: 50})
		i.Finish(0, nil)
	},
	"a failed build": func(i *bep.Invocation) {
		i.Resolved(redis)
		build(i, redis)
		i.Publish(event.Event{Path: redis, Type: event.Output, Output: failure.Output})
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9), Failure: failure})
		i.Publish(event.Event{Path: redis, Type: event.Failed, Time: at(9), Failure: failure})
		i.Finish(1, failure)
	},
	"an engine without steps that fails": func(i *bep.Invocation) {
		i.Resolved(redis)
		i.Publish(event.Event{Path: redis, Type: event.Started, Time: at(1)})
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9), Failure: failure})
		i.Publish(event.Event{Path: redis, Type: event.Failed, Time: at(9), Failure: failure})
		i.Finish(1, failure)
	},
	"a binary that cannot be kept": func(i *bep.Invocation) {
		i.Resolved(redis)
		build(i, redis)
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9)})
		i.Publish(event.Event{Path: redis, Type: event.Failed, Time: at(10), Failure: k6x.Errorf(k6x.NoSpace, "the disk is full")})
		i.Finish(1, k6x.Errorf(k6x.NoSpace, "the disk is full"))
	},
	"a list that cannot be resolved": func(i *bep.Invocation) { i.Finish(1, k6x.Errorf(k6x.NotFound, "there is no k6/x/nope")) },
	"a list that is resolved anew": func(i *bep.Invocation) {
		plain := "/linux/amd64/k6@v1.8.1"
		i.Resolved(redis)
		build(i, redis)
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9), Failure: failure})
		i.Resolved(plain)
		build(i, plain)
		i.Publish(event.Event{Path: plain, Type: event.Finished, Time: at(9)})
		i.Publish(event.Event{Path: plain, Type: event.Stored, Time: at(10), Digest: strings.Repeat("ab", 32), Size: 50})
		i.Finish(0, nil)
	},
	"a binary that is not to be kept": func(i *bep.Invocation) {
		i.Resolved(redis)
		build(i, redis)
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9)})
		i.Publish(event.Event{Path: redis, Type: event.Stored, Time: at(10)})
		i.Finish(0, nil)
	},
	"a build that is cancelled": func(i *bep.Invocation) {
		i.Resolved(redis)
		build(i, redis)
		i.Finish(130, k6x.Errorf(k6x.Canceled, "no client waits"))
	},
	"a build whose time is up": func(i *bep.Invocation) {
		i.Resolved(redis)
		build(i, redis)
		late := k6x.Errorf(k6x.Timeout, "the build took longer than 10m")
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9), Failure: late})
		i.Publish(event.Event{Path: redis, Type: event.Failed, Time: at(9), Failure: late})
		i.Finish(1, late)
	},
	"several binaries, one fails, one is not reached": func(i *bep.Invocation) {
		windows, plain := "/windows/arm64/k6@v1.8.1", "/linux/amd64/k6@v1.8.1"
		i.Resolved(redis, windows, redis, plain)
		for _, p := range []string{redis, windows} {
			build(i, p)
		}
		i.Publish(event.Event{Path: redis, Type: event.Finished, Time: at(9)})
		i.Publish(event.Event{Path: redis, Type: event.Stored, Time: at(10)})
		i.Publish(event.Event{Path: windows, Type: event.Finished, Time: at(9), Failure: failure})
		i.Publish(event.Event{Path: windows, Type: event.Failed, Time: at(9), Failure: failure})
		i.Publish(event.Event{Path: "/linux/amd64/k6@v1.0.0", Type: event.Stored}) // of another command
		i.Finish(1, failure)
		i.Publish(event.Event{Path: plain, Type: event.Stored}) // too late
		i.Finish(0, nil)
	},
}

func at(second int) time.Time { return time.Unix(1_000_000_000+int64(second), 0) }

// build publishes the events of an engine that works.
func build(i *bep.Invocation, path string) {
	for _, e := range []event.Event{
		{Type: event.Queued, Time: at(0)},
		{Type: event.Started, Time: at(1)},
		{Type: event.StepBegun, Step: event.Fetching, Time: at(1)},
		{Type: event.Progress, Step: event.Fetching, Item: "example.com/m v1.0.0", Time: at(1)},
		{Type: event.Progress, Step: event.Fetching, Item: "example.com/m v1.0.0", Time: at(2)},
		{Type: event.StepEnded, Step: event.Fetching, Time: at(3)},
		{Type: event.StepBegun, Step: event.Compiling, Time: at(3)},
		{Type: event.StepEnded, Step: event.Compiling, Done: 7, Time: at(5)},
		{Type: event.StepBegun, Step: event.Linking, Time: at(5)},
		{Type: event.StepEnded, Step: event.Linking, Time: at(9)},
	} {
		e.Path = path
		i.Publish(e)
	}
}

func record(run func(*bep.Invocation)) (events []*pb.BuildEvent) {
	config := bep.Config{ID: "7b1d9a1e-0000-4000-8000-000000000000", Command: "build", Version: "v1", Pattern: []string{"linux/amd64/k6,k6/x/redis"},
		Options: []bep.Option{{Name: "platform", Value: "linux/amd64"}}, Status: map[string]string{"A": "1"}}
	run(bep.Start(config, func(e *pb.BuildEvent) { events = append(events, proto.CloneOf(e)) }))
	return events
}

func TestStreamsKeepTheRules(t *testing.T) {
	for name, run := range streams {
		t.Run(name, func(t *testing.T) {
			events := record(run)
			if err := beptest.Check(events); err != nil {
				t.Errorf("%v\n%s", err, text(events))
			}
		})
	}
}

// The words of a stream, without what each event announces.
func TestStreamOfABuildThatFails(t *testing.T) {
	want := "started unstructured_command_line structured_command_line structured_command_line build_metadata options_parsed workspace_status " +
		"expanded progress configuration configured progress action progress fetch progress action progress action progress progress action " +
		"completed finished progress build_tool_logs build_metrics"
	var got []string
	for _, e := range record(streams["a failed build"]) {
		r := e.ProtoReflect()
		got = append(got, string(r.WhichOneof(r.Descriptor().Oneofs().ByName("payload")).Name()))
	}
	got = slices.DeleteFunc(got, func(s string) bool { return s == "" })
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

// Wherever a process is killed, the next one ends the stream of its file.
func TestFilesOfKilledProcessesAreMended(t *testing.T) {
	for name, run := range streams {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var whole []byte
			for _, e := range record(run) {
				line, err := bep.JSON(e)
				if err != nil {
					t.Fatal(err)
				}
				whole = append(whole, line...)
			}
			file := filepath.Join(t.TempDir(), "build.json")
			for n := 1; n <= len(whole); n += 101 {
				if err := os.WriteFile(file, whole[:n], 0o666); err != nil {
					t.Fatal(err)
				}
				if err := bep.Mend(file); err != nil {
					t.Fatalf("cut at byte %d: %v", n, err)
				}
				events := read(t, file)
				if len(events) == 0 {
					continue // not even the first one was whole
				}
				if err := beptest.Check(events); err != nil {
					t.Fatalf("cut at byte %d: %v\n%s", n, err, text(events))
				}
			}
		})
	}
}

func TestFileThatCannotBeWritten(t *testing.T) {
	if _, err := bep.Create(filepath.Join(t.TempDir(), "missing", "events"), bep.JSON); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	f, err := bep.Create("/dev/full", bep.Binary)
	if err != nil {
		t.Skip(err)
	}
	f.Publish(record(streams["success"])[0])
	if err := f.Close(); err == nil {
		t.Error("no error of a disk that is full")
	}
}

// A stream that breaks a rule is found.
func TestCheckFindsWhatIsBroken(t *testing.T) {
	find := func(events []*pb.BuildEvent, is func(*pb.BuildEvent) bool) int { return slices.IndexFunc(events, is) }
	configuration := func(e *pb.BuildEvent) bool { return e.GetConfiguration() != nil }
	set := func(e *pb.BuildEvent) bool { return e.GetNamedSetOfFiles() != nil }
	for rule, broken := range map[string]func(events []*pb.BuildEvent) []*pb.BuildEvent{
		"the first event is":     func(e []*pb.BuildEvent) []*pb.BuildEvent { return e[1:] },
		"without an id":          func(e []*pb.BuildEvent) []*pb.BuildEvent { e[0].GetStarted().Uuid = ""; return e },
		"announces 0 patterns":   func(e []*pb.BuildEvent) []*pb.BuildEvent { e[0].Children = e[0].Children[:3]; return e },
		"was not announced":      func(e []*pb.BuildEvent) []*pb.BuildEvent { e[find(e, configuration)-1].Children = nil; return e },
		"was sent before":        func(e []*pb.BuildEvent) []*pb.BuildEvent { return slices.Insert(e, 4, e[3]) },
		"have not come":          func(e []*pb.BuildEvent) []*pb.BuildEvent { return slices.Delete(e, 2, 3) },
		"others follow":          func(e []*pb.BuildEvent) []*pb.BuildEvent { return append(e, e[3]) },
		"without a last message": func(e []*pb.BuildEvent) []*pb.BuildEvent { return e[:len(e)-1] },
		"has not finished":       func(e []*pb.BuildEvent) []*pb.BuildEvent { return e[:find(e, set)] },
		"has a payload of":       func(e []*pb.BuildEvent) []*pb.BuildEvent { e[find(e, set)].Payload = e[0].Payload; return e },
		"has no payload":         func(e []*pb.BuildEvent) []*pb.BuildEvent { e[3].Payload = nil; return e },
		"before it is used":      func(e []*pb.BuildEvent) []*pb.BuildEvent { i := find(e, set); e[i], e[i+1] = e[i+1], e[i]; return e },
		`configuration "linux`: func(e []*pb.BuildEvent) []*pb.BuildEvent {
			i := find(e, configuration)
			return slices.Delete(e, i, i+1)
		},
		"announces no completion": func(e []*pb.BuildEvent) []*pb.BuildEvent { e[find(e, configuration)+1].Children = nil; return e },
		"of another target": func(e []*pb.BuildEvent) []*pb.BuildEvent {
			e[find(e, configuration)+1].Id.GetTargetConfigured().Label = "/linux/amd64/k6@v1.0.0"
			return e
		},
		"failed without a cause": func(e []*pb.BuildEvent) []*pb.BuildEvent { e[find(e, set)+1].GetCompleted().Success = false; return e },
		"progress after its end": func(e []*pb.BuildEvent) []*pb.BuildEvent {
			e[find(e, set)-1].Children = e[find(e, set)-1].Children[1:]
			return e
		},
		"and the exit code": func(e []*pb.BuildEvent) []*pb.BuildEvent {
			e[find(e, func(e *pb.BuildEvent) bool { return e.GetFinished() != nil })].GetFinished().OverallSuccess = false
			return e
		},
	} {
		if err := beptest.Check(broken(record(streams["success"]))); err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("a stream that breaks %q: got %v", rule, err)
		}
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:word@example.com/x":           "https://%3CREDACTED%3E@example.com/x",
		"a=https://u@h/,b=http://v:w@i?x=y://z@z/":  "a=https://%3CREDACTED%3E@h/,b=http://%3CREDACTED%3E@i?x=y://%3CREDACTED%3E@z/",
		"https://u:w@x@h/":                          "https://%3CREDACTED%3E@h/",
		"https://h/a?x=1&X-Amz-Signature=w&y=2#z":   "https://h/a?x=1&X-Amz-Signature=<REDACTED>&y=2#z",
		"kafka=brokers=a,password=w,topic=t":        "kafka=brokers=a,password=<REDACTED>,topic=t",
		"github.com/x/y@v1.0.0":                     "github.com/x/y@v1.0.0",
		"https://example.com/linux/amd64/k6@v1.8.1": "https://example.com/linux/amd64/k6@v1.8.1",
		"s3://bucket?region=eu-west-1":              "s3://bucket?region=eu-west-1",
	} {
		if got := bep.Redact("out", in).Value; got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
	login := []string{"cloud", "login", "--token", "w", "--token=w", "-t", "w", "--password", "w", "-pw"}
	if got := strings.Join(bep.RedactArgs(login), " "); strings.Contains(got, " w") || strings.Contains(got, "=w") || strings.Contains(got, "-pw") {
		t.Errorf("got %s", got)
	}
	args := []string{"run", "-e", "A=w", "--env", "B=w", "--env=C=w", "-eD=w", "-qe", "E=w", "--bes_header", "x-key=w", "-o", "json=x", "--env", "F", "script.js"}
	want := []string{"run", "-e", "A=<REDACTED>", "--env", "B=<REDACTED>", "--env=C=<REDACTED>", "-eD=<REDACTED>", "-qe", "E=<REDACTED>",
		"--bes_header", "x-key=<REDACTED>", "-o", "json=x", "--env", "<REDACTED>", "script.js"}
	if got := bep.RedactArgs(args); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func read(t *testing.T, name string) []*pb.BuildEvent {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := bep.ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func text(events []*pb.BuildEvent) string {
	var b strings.Builder
	for _, e := range events {
		line, err := bep.JSON(e)
		if err != nil {
			return err.Error()
		}
		b.Write(line)
	}
	return b.String()
}

// A job of the past has its own times in the stream, also if some of its events are not kept any more.
func TestStreamOfAPastJob(t *testing.T) {
	for skipped := range 3 {
		var events []*pb.BuildEvent
		job := bep.Job{URL: "https://k6.example.com", Version: "v9", Send: func(e *pb.BuildEvent) { events = append(events, proto.CloneOf(e)) }}
		all := []event.Event{
			{Type: event.Resolved, Time: at(0), Toolchain: "go1.26.8", Request: "/linux/amd64/k6,k6/x/redis", Duration: 2 * time.Second},
			{Type: event.Queued, Time: at(0)},
			{Type: event.Started, Time: at(5)},
			{Type: event.StepBegun, Step: event.Compiling, Time: at(5)},
			{Type: event.StepEnded, Step: event.Compiling, Time: at(8)},
			{Type: event.Finished, Time: at(9)},
			{Type: event.Stored, Time: at(10), Digest: strings.Repeat("ab", 32), Size: 50},
		}
		for _, e := range all[map[int]int{0: 0, 1: 2, 2: 5}[skipped]:] {
			e.Job, e.Path = "7b1d9a1e-0000-4000-8000-000000000000", redis
			job.Publish(e)
		}
		if err := beptest.Check(events); err != nil {
			t.Errorf("%v\n%s", err, text(events))
		}
		wanted := []string{`"finishTime":"2001-09-09T01:46:50Z"`, `"uri":"https://k6.example.com` + redis + `"`}
		if skipped == 0 {
			wanted = append(wanted, `"startTime":"2001-09-09T01:46:43Z"`, `"toolchain":"go1.26.8"`, `"wallTimeInMs":"7000"`, `"request":"https://k6.example.com/linux/amd64/k6,k6/x/redis"`)
		}
		for _, want := range wanted {
			if !strings.Contains(text(events), want) {
				t.Errorf("%d skipped: %s is not in\n%s", skipped, want, text(events))
			}
		}
	}
}
