package bep

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"k6x"
	"k6x/event"
	"k6x/event/bep/pb"
)

// Bounds of one stream.
const (
	maxLog     = 64 << 10 // bytes of output that the event of the logs has
	maxFetches = 2_000    // downloads that have an event
)

// Config says what a stream is of. Secrets have to be redacted: see [Redact].
type Config struct {
	ID       string // of the invocation, a UUID
	Program  string // "k6x"
	Command  string // "build", "service"
	Version  string // of k6x
	Args     []string
	Options  []Option
	Dir      string            // the working directory of a command; "" for a service
	Pattern  []string          // the lists that were asked for
	Metadata map[string]string // of the build: the request, the toolchain
	Begun    time.Time         // when its resolving began; zero: now
	Status   map[string]string // of the workspace
	Now      func() time.Time  // nil: [time.Now]; a stream of events of the past has their time

	BinaryURL func(path string) string // where a binary is to be had; nil: it has no URL
	LogURL    string                   // where the log is to be had; "": the event has the end of it
}

// Invocation is one stream: a command, or one build of a service. It may be used by several goroutines at once.
type Invocation struct {
	cfg   Config
	begun time.Time

	mu      sync.Mutex // guards what follows, and lets one event out at a time
	out     *Announcer
	targets map[string]*target // by canonical path
	order   []*target
	ended   bool
	log     []byte
	metrics metrics
}

// target is one binary of an invocation.
type target struct {
	path, configuration string
	label               *pb.BuildEventId // of its completion
	step                step             // the last that began; the zero value: none
	failed              *pb.BuildEventId // the action that failed; nil: none
	built, done         bool
	fetches             int
}

// step is a part of the work on a target, which becomes an action.
type step struct {
	name         string
	begun, ended time.Time
}

// Start begins a stream.
func Start(cfg Config, send Sink) *Invocation {
	cfg.clean()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	i := &Invocation{cfg: cfg, begun: cfg.Begun, out: NewAnnouncer(send), targets: make(map[string]*target)}
	if i.begun.IsZero() {
		i.begun = cfg.Now()
	}
	lines := cfg.commandLines()
	begin := &pb.BuildEvent{Id: startedID(), Children: []*pb.BuildEventId{progressID(0), argsID()}}
	for _, l := range lines {
		begin.Children = append(begin.Children, commandLineID(l.CommandLineLabel))
	}
	begin.Children = append(begin.Children, metadataID(), optionsID(), statusID(), patternID(cfg.Pattern), finishedID())
	options := make([]string, len(cfg.Options))
	for n, o := range cfg.Options {
		options[n] = o.String()
	}
	begin.Payload = &pb.BuildEvent_Started{Started: &pb.BuildStarted{
		Uuid:               cfg.ID,
		StartTimeMillis:    i.begun.UnixMilli(),
		StartTime:          timestamppb.New(i.begun),
		BuildToolVersion:   cfg.Program + " " + cfg.Version,
		OptionsDescription: strings.Join(options, " "),
		Command:            cfg.Command,
		WorkingDirectory:   cfg.Dir,
		WorkspaceDirectory: cfg.Dir,
	}}
	i.out.Post(begin)
	i.out.Post(&pb.BuildEvent{Id: argsID(), Payload: &pb.BuildEvent_UnstructuredCommandLine{
		UnstructuredCommandLine: &pb.UnstructuredCommandLine{Args: cfg.Args}}})
	for _, l := range lines {
		i.out.Post(&pb.BuildEvent{Id: commandLineID(l.CommandLineLabel), Payload: &pb.BuildEvent_StructuredCommandLine{StructuredCommandLine: l}})
	}
	i.out.Post(&pb.BuildEvent{Id: metadataID(), Payload: &pb.BuildEvent_BuildMetadata{BuildMetadata: &pb.BuildMetadata{Metadata: cfg.Metadata}}})
	i.out.Post(&pb.BuildEvent{Id: optionsID(), Payload: &pb.BuildEvent_OptionsParsed{
		OptionsParsed: &pb.OptionsParsed{CmdLine: options, ExplicitCmdLine: options, ToolTag: cfg.Program}}})
	status := &pb.WorkspaceStatus{}
	for _, name := range slices.Sorted(maps.Keys(cfg.Status)) {
		status.Item = append(status.Item, &pb.WorkspaceStatus_Item{Key: name, Value: cfg.Status[name]})
	}
	i.out.Post(&pb.BuildEvent{Id: statusID(), Payload: &pb.BuildEvent_WorkspaceStatus{WorkspaceStatus: status}})
	return i
}

// clean makes texts of what comes from a command line or a disk: the protocol takes UTF-8 only.
func (c *Config) clean() {
	c.Dir = text(c.Dir)
	c.Args, c.Pattern, c.Options = slices.Clone(c.Args), slices.Clone(c.Pattern), slices.Clone(c.Options)
	for _, list := range [][]string{c.Args, c.Pattern} {
		for i, s := range list {
			list[i] = text(s)
		}
	}
	for i, o := range c.Options {
		c.Options[i] = Option{text(o.Name), text(o.Value)}
	}
	c.Metadata, c.Status = maps.Clone(c.Metadata), maps.Clone(c.Status)
	for _, m := range []map[string]string{c.Metadata, c.Status} {
		for name, value := range m {
			m[name] = text(value)
		}
	}
}

func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Resolved says what the pattern means: the canonical paths of its binaries. It is to be called before the events of
// their jobs come; without it the pattern has failed. Paths of later calls are added: the pattern had to be resolved anew.
func (i *Invocation) Resolved(paths ...string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	var fresh []*target
	pattern := &pb.BuildEvent{Id: patternID(i.cfg.Pattern), Payload: &pb.BuildEvent_Expanded{Expanded: &pb.PatternExpanded{}}}
	for _, p := range paths {
		if i.targets[p] != nil {
			continue
		}
		configuration := platform(p)
		t := &target{path: p, configuration: configuration, label: completedID(p, configuration)}
		i.targets[p] = t
		fresh = append(fresh, t)
		pattern.Children = append(pattern.Children, configuredID(p))
	}
	now := i.cfg.Now()
	if len(i.order) == 0 {
		i.out.Post(pattern)
		i.metrics.analysis = now.Sub(i.begun)
	}
	i.order = append(i.order, fresh...)
	for _, t := range fresh {
		if id := configurationID(t.configuration); !i.out.known[key(id)] {
			i.postConfiguration(id)
		}
		i.out.Post(&pb.BuildEvent{
			Id:       configuredID(t.path),
			Children: []*pb.BuildEventId{t.label},
			Payload:  &pb.BuildEvent_Configured{Configured: &pb.TargetConfigured{TargetKind: "k6 binary"}},
		})
		i.postAction(t, step{"resolve", i.begun, now}, nil)
	}
}

// platform returns that of a path, OS/ARCH.
func platform(path string) string {
	goos, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	goarch, _, _ := strings.Cut(rest, "/")
	return goos + "/" + goarch
}

func (i *Invocation) postConfiguration(id *pb.BuildEventId) {
	platform := id.GetConfiguration().Id
	goos, goarch, _ := strings.Cut(platform, "/")
	i.out.Post(&pb.BuildEvent{Id: id, Payload: &pb.BuildEvent_Configuration{Configuration: &pb.Configuration{
		Mnemonic: goos + "-" + goarch, PlatformName: platform, Cpu: goarch, MakeVariable: map[string]string{"GOOS": goos, "GOARCH": goarch}}}})
}

// Publish takes an event of a job. Those of binaries that the pattern does not mean are left out.
func (i *Invocation) Publish(e event.Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.targets[e.Path]
	if t == nil || t.done || i.ended {
		return
	}
	switch e.Type {
	case event.Started:
		t.built = true
		t.step = step{name: "build", begun: e.Time}
	case event.StepBegun:
		i.endStep(t, nil)
		t.step = step{name: actions[e.Step], begun: e.Time}
	case event.Progress:
		if e.Step == event.Fetching && e.Item != "" && t.fetches < maxFetches {
			t.fetches++
			i.postFetch(e.Item)
		}
	case event.StepEnded:
		if t.step.ended = e.Time; e.Step == event.Compiling {
			i.metrics.packages += e.Done
		}
	case event.Output:
		i.log = append(i.log, e.Output...)
		i.log = i.log[max(0, len(i.log)-maxLog):]
		i.out.Output(text(e.Output))
	case event.Finished:
		i.metrics.execution += e.Duration
		i.endStep(t, e.Failure)
		t.step = step{name: "store", begun: e.Time}
	case event.Stored:
		i.metrics.requests += e.Requests
		if t.built {
			t.step.ended = e.Time
			i.endStep(t, nil)
		}
		i.complete(t, e)
	case event.Failed:
		i.metrics.requests += e.Requests
		if t.built && t.failed == nil { // the engine made a binary that could not be kept
			i.endStep(t, e.Failure)
		}
		i.fail(t, e.Failure)
	}
}

// endStep sends the action of the last step. Whether it did what it should is known once the next step begins, or
// the engine is done.
func (i *Invocation) endStep(t *target, failure *k6x.Error) {
	s := t.step
	if s.ended.IsZero() {
		if s.ended = i.cfg.Now(); failure == nil {
			return // "build", which is all that a build without steps has
		}
	}
	i.postAction(t, s, failure)
	t.step = step{}
}

func (i *Invocation) postAction(t *target, s step, failure *k6x.Error) {
	id := actionID(s.name, t.path, t.configuration)
	if s.name == "" || i.out.known[key(id)] { // a step that came twice: the first one stands for both
		return
	}
	action := &pb.ActionExecuted{
		Success:       failure == nil,
		Type:          s.name,
		Label:         t.path,
		Configuration: &pb.BuildEventId_ConfigurationId{Id: t.configuration},
		StartTime:     timestamppb.New(s.begun),
		EndTime:       timestamppb.New(s.ended),
	}
	if failure != nil {
		t.failed = id
		text := clip(cmp.Or(failure.Output, failure.Message))
		action.ExitCode = 1
		action.Stderr = &pb.File{Name: "stderr", Length: int64(len(text)), File: &pb.File_Contents{Contents: []byte(text)}}
	}
	i.metrics.action(s)
	i.out.Post(&pb.BuildEvent{Id: id, Payload: &pb.BuildEvent_Action{Action: action}})
}

// postFetch sends a download, once if several targets need it.
func (i *Invocation) postFetch(item string) {
	id := fetchID(text(strings.ReplaceAll(item, " ", "@")))
	if !i.out.known[key(id)] {
		i.metrics.fetches++
		i.out.Post(&pb.BuildEvent{Id: id, Payload: &pb.BuildEvent_Fetch{Fetch: &pb.Fetch{Success: true}}})
	}
}

// complete says that a target is there.
func (i *Invocation) complete(t *target, e event.Event) {
	t.done = true
	goos, _, _ := strings.Cut(t.configuration, "/")
	file := &pb.File{Name: "k6", PathPrefix: strings.Split(t.configuration, "/"), Digest: e.Digest, Length: e.Size}
	if goos == "windows" {
		file.Name = "k6.exe"
	}
	if i.cfg.BinaryURL != nil {
		file.File = &pb.File_Uri{Uri: i.cfg.BinaryURL(t.path)}
	}
	i.metrics.binaries++
	i.metrics.bytes += e.Size
	if !t.built && t.fetches == 0 {
		i.metrics.kept++
	}
	completed := &pb.TargetComplete{Success: true}
	if e.Digest != "" { // else the binary was not to be kept
		set := namedSetID(strconv.Itoa(slices.Index(i.order, t)))
		i.out.Post(&pb.BuildEvent{Id: set, Payload: &pb.BuildEvent_NamedSetOfFiles{NamedSetOfFiles: &pb.NamedSetOfFiles{Files: []*pb.File{file}}}})
		completed.OutputGroup = []*pb.OutputGroup{{Name: "default", FileSets: []*pb.BuildEventId_NamedSetOfFilesId{set.GetNamedSet()}}}
	}
	i.out.Post(&pb.BuildEvent{Id: t.label, Payload: &pb.BuildEvent_Completed{Completed: completed}})
}

// fail says that a target will not come: with the action that failed, or as aborted if none did.
func (i *Invocation) fail(t *target, failure *k6x.Error) {
	t.done = true
	e := &pb.BuildEvent{Id: t.label}
	if t.failed != nil && failure.Kind == k6x.BuildFailed {
		e.Children = []*pb.BuildEventId{t.failed}
		e.Payload = &pb.BuildEvent_Completed{Completed: &pb.TargetComplete{}}
	} else {
		e.Payload = &pb.BuildEvent_Aborted{Aborted: aborted(failure)}
	}
	i.out.Post(e)
}

// Finish ends the stream: a command with its exit code, 0 for success, and err, which is nil then. Targets that have not
// ended have failed with err. Only the first call counts.
func (i *Invocation) Finish(code int, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ended {
		return
	}
	for _, t := range i.order {
		if err != nil && !t.done {
			i.fail(t, k6x.AsError(err))
		}
	}
	i.ended = true
	log := &pb.File{Name: "log", Length: int64(len(i.log)), File: &pb.File_Contents{Contents: []byte(strings.ToValidUTF8(string(i.log), ""))}}
	if i.cfg.LogURL != "" {
		log = &pb.File{Name: "log", File: &pb.File_Uri{Uri: i.cfg.LogURL}}
	}
	now := i.cfg.Now()
	i.out.Finish(finished(now, code, err), aborted(err),
		&pb.BuildEvent{Id: toolLogsID(), Payload: &pb.BuildEvent_BuildToolLogs{BuildToolLogs: &pb.BuildToolLogs{Log: []*pb.File{log}}}},
		&pb.BuildEvent{Id: metricsID(), Payload: &pb.BuildEvent_BuildMetrics{BuildMetrics: i.metrics.event(len(i.order), now.Sub(i.begun))}})
}

// Abort ends a stream that was cut when its process ended, of which sent are the events that are there. It sends none
// if the stream has its last event.
func Abort(sent []*pb.BuildEvent, send Sink) {
	if a, ended := Resume(sent, send); !ended && len(sent) > 0 {
		err := k6x.Errorf(k6x.Internal, "the process that built ended before the build did")
		a.Finish(finished(time.Now(), 1, err), &pb.Aborted{Reason: pb.Aborted_INCOMPLETE, Description: err.Message})
	}
}

func finished(now time.Time, code int, err error) *pb.BuildFinished {
	name := "SUCCESS"
	if code != 0 {
		name = cmp.Or(exitNames[k6x.KindOf(err)], "BUILD_FAILURE")
	}
	return &pb.BuildFinished{
		OverallSuccess:   code == 0,
		FinishTimeMillis: now.UnixMilli(),
		FinishTime:       timestamppb.New(now),
		ExitCode:         &pb.BuildFinished_ExitCode{Name: name, Code: int32(code)},
	}
}

// exitNames are those of exit codes; other kinds of error are a BUILD_FAILURE.
var exitNames = map[k6x.Kind]string{
	k6x.Internal: "INTERNAL_ERROR",
	k6x.Invalid:  "COMMAND_LINE_ERROR",
	k6x.NoSpace:  "LOCAL_ENVIRONMENTAL_ERROR",
	k6x.Canceled: "INTERRUPTED",
	k6x.Timeout:  "TIMED_OUT",
}

// abortReasons are those why what was announced does not come; other kinds of error are ANALYSIS_FAILURE, as what was asked for
// cannot be built.
var abortReasons = map[k6x.Kind]pb.Aborted_AbortReason{
	k6x.Internal:    pb.Aborted_INTERNAL,
	k6x.BuildFailed: pb.Aborted_INCOMPLETE,
	k6x.Busy:        pb.Aborted_NO_BUILD,
	k6x.Quota:       pb.Aborted_NO_BUILD,
	k6x.Unavailable: pb.Aborted_REMOTE_ENVIRONMENT_FAILURE,
	k6x.NoSpace:     pb.Aborted_INCOMPLETE,
	k6x.Canceled:    pb.Aborted_USER_INTERRUPTED,
	k6x.Timeout:     pb.Aborted_TIME_OUT,
}

func aborted(err error) *pb.Aborted {
	if err == nil {
		return &pb.Aborted{Reason: pb.Aborted_NO_BUILD}
	}
	reason, ok := abortReasons[k6x.KindOf(err)]
	if !ok {
		reason = pb.Aborted_ANALYSIS_FAILURE
	}
	return &pb.Aborted{Reason: reason, Description: clip(k6x.AsError(err).Message)}
}

// clip returns the beginning of a text, as valid UTF-8.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxLog)], "")
}

// actions are the names of actions, which are their type and stand for their output.
var actions = map[event.Step]string{
	event.Preparing: "prepare", event.Pulling: "pull", event.Fetching: "download", event.Compiling: "compile", event.Linking: "link", event.Checking: "check",
}
