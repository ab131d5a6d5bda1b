package buildevents

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/event"
	"k6x/event/bep"
	"k6x/event/bep/beptest"
	"k6x/event/bep/pb"
	"k6x/event/bes/bestest"
)

const path = "/linux/amd64/k6@v1.8.1"

// command runs a command that builds one binary, and returns its exit code and what it printed.
func command(t *testing.T, args ...string) (code int, printed string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "k6")
	if err := os.WriteFile(file, []byte("binary"), 0o755); err != nil {
		t.Fatal(err)
	}
	var o Options
	cmd := &cobra.Command{Use: "k6x"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var lines []string
		c, err := o.Open(cmd, "build", args, func(line string) { lines = append(lines, line) })
		if err != nil {
			return err
		}
		c.Start("k6")
		c.Resolved(path)
		for _, e := range stored(path, "") {
			c.Sink().Send(e)
		}
		c.Stored(cmd.Context(), path, file)
		err = c.Finish(cmd.Context(), nil)
		fmt.Fprintln(cmd.OutOrStdout(), strings.Join(lines, "\n"))
		return err
	}
	o.AddCommandFlags(cmd.Flags())
	var out strings.Builder
	code = cli.Run(t.Context(), cmd, args, &out, &out)
	return code, out.String()
}

// stored returns the events of a build that is stored.
func stored(path, id string) []event.Event {
	var all []event.Event
	for _, e := range []event.Event{
		{Type: event.Resolved, Request: "/linux/amd64/k6", Toolchain: "go1.26.8", Duration: 2 * time.Second}, {Type: event.Started}, {Type: event.StepBegun, Step: event.Linking}, {Type: event.StepEnded, Step: event.Linking},
		{Type: event.StepBegun, Step: event.Checking}, {Type: event.StepEnded, Step: event.Checking},
		{Type: event.Output, Output: "a note\n"}, {Type: event.Finished}, {Type: event.Stored, Digest: strings.Repeat("0", 64), Size: 6, Requests: 3},
	} {
		e.Job, e.Path, e.Time = id, path, time.Now()
		all = append(all, e)
	}
	return all
}

func TestACommandShowsItsBuildInFilesAndToABackend(t *testing.T) {
	r := &bestest.Recorder{}
	backend := "grpc://" + r.Start(t)
	dir := t.TempDir()
	name := func(format string) string { return filepath.Join(dir, format) }
	code, printed := command(t, "--build_event_json_file", name("json"), "--build_event_binary_file="+name("binary"), "--build_event_text_file", name("text"),
		"--bes_backend", backend, "--bes_results_url=https://results.example.com/", "--bes_header", "x-key=hidden", "--nobes_best_effort")
	if code != 0 || !strings.Contains(printed, "build results: https://results.example.com/") {
		t.Fatalf("%d: %s", code, printed)
	}
	events := r.Events(t)
	if err := beptest.Check(events); err != nil {
		t.Error(err)
	}
	if got := r.Headers().Get("x-key"); !slices.Equal(got, []string{"hidden"}) {
		t.Errorf("header: %q", got)
	}
	for i, format := range []string{"json", "binary", "text"} {
		var want []byte
		for _, e := range events {
			record, err := formats[i].format(e)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, record...)
		}
		got, err := os.ReadFile(name(format))
		if err != nil {
			t.Fatal(err)
		}
		if compact(got) != compact(want) {
			t.Errorf("%s: the file has other events than the backend:\n%s\n%s", format, got, want)
		}
		if strings.Contains(string(got), "hidden") {
			t.Errorf("%s: a header is in the file", format)
		}
	}
}

// compact leaves out the spaces that the text format varies.
func compact(b []byte) string { return strings.ReplaceAll(string(b), " ", "") }

func TestABackendThatSaysNo(t *testing.T) {
	no := &bestest.Recorder{Opened: func() error { return status.Error(codes.InvalidArgument, "no such project") }}
	backend := "grpc://" + no.Start(t)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--bes_backend", backend}, 0, "no such project"},
		{[]string{"--bes_backend", backend, "--bes_best_effort=false"}, 1, "no such project"},
		{[]string{"--bes_backend", backend, "--nobes_best_effort", "--bes_timeout=0"}, 1, "no such project"},
		{[]string{"--bes_backend", backend, "--bes_timeout=-1s"}, 2, "not negative"},
		{[]string{"--build_event_json_file", "x", "--build_event_text_file", "x"}, 2, "another format"},
		{[]string{"--bes_backend", "ftp://x"}, 2, "grpc://HOST:PORT"},
		{[]string{"--bes_backend", backend, "--bes_header", "x"}, 2, "NAME=VALUE"},
		{[]string{"--bes_backend", backend, "--google_credentials", "/dev/null"}, 2, "Google credentials"},
		{[]string{"--build_event_json_file", "/no/such/directory/x"}, 2, "--build_event_json_file"},
		{[]string{"--build_event_json_file", "/dev/full"}, 1, "not whole"},
	} {
		code, printed := command(t, test.args...)
		if code != test.code || !strings.Contains(printed, test.want) {
			t.Errorf("%q: got %d %s", test.args, code, printed)
		}
	}
}

// service opens the streams of a service.
func service(t *testing.T, args ...string) (*Builds, error) {
	t.Helper()
	var o Options
	cmd := &cobra.Command{}
	o.AddServiceFlags(cmd.Flags())
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return o.OpenBuilds(BuildsConfig{URL: "https://builds.example.com", Logger: slog.New(slog.DiscardHandler)})
}

func mustOpen(t *testing.T, args ...string) *Builds {
	t.Helper()
	b, err := service(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// streams returns those in a directory, in the order of their names.
func streams(t *testing.T, dir string) (all [][]*pb.BuildEvent) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		events, err := bep.ReadJSON(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, events)
	}
	return all
}

func TestEachBuildOfAServiceIsAStream(t *testing.T) {
	r := &bestest.Recorder{}
	dir := t.TempDir()
	b := mustOpen(t, "--build-event-dir", dir, "--bes_backend", "grpc://"+r.Start(t))
	const id = "7b1d9a1e-0000-4000-8000-000000000000"
	for _, e := range stored(path, id) {
		b.Publish(e)
	}
	for _, e := range stored(path, "a-hit") { // no engine comes to it
		if e.Type == event.Resolved || e.Type == event.Stored {
			b.Publish(e)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := append(streams(t, dir), r.Events(t))
	if len(all) != 2 {
		t.Fatalf("%d streams", len(all))
	}
	for _, events := range all {
		if err := beptest.Check(events); err != nil {
			t.Error(err)
		}
		var text strings.Builder
		for _, e := range events {
			line, err := bep.JSON(e)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(line)
		}
		for _, want := range []string{
			`"uuid":"` + id + `"`, `"uri":"https://builds.example.com` + path + `"`, `"uri":"https://builds.example.com/builds/` + id + `/log"`,
			`"request":"https://builds.example.com/linux/amd64/k6"`, `"analysisPhaseTimeInMs":"2`, `"type":"check"`, `"toolchain":"go1.26.8"`, `{"name":"request","count":3}`,
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s is not in\n%s", want, text.String())
			}
		}
		if strings.Contains(text.String(), dir) {
			t.Error("the stream names a directory of the service")
		}
	}
}

// The next start ends the streams of a service that was killed at any event, also in the middle of a line, and leaves the others.
func TestStreamsOfAKilledServiceAreEnded(t *testing.T) {
	for cut := range 6 {
		dir := t.TempDir()
		b := mustOpen(t, "--build-event-dir", dir)
		for _, e := range stored(path, "whole") {
			b.Publish(e)
		}
		for i, e := range stored(path, "cut") {
			if i <= cut+1 && i < 6 {
				b.Publish(e)
			}
		}
		before := streams(t, dir)
		if again, err := service(t, "--build-event-dir", dir); err == nil {
			again.Close(t.Context())
			t.Fatal("two services write to one directory")
		}
		if err := b.lock.Close(); err != nil { // as the end of a process does
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(dir, "*-cut.json"))
		file, err := os.OpenFile(names[0], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(`{"id":{"progress":{"opaq`); err != nil {
			t.Fatal(err)
		}
		file.Close()

		b = mustOpen(t, "--build-event-dir", dir)
		for i, events := range streams(t, dir) {
			if err := beptest.Check(events); err != nil {
				t.Errorf("cut at %d: %v", cut, err)
			}
			if ended := before[i][len(before[i])-1].LastMessage; ended && len(events) != len(before[i]) {
				t.Error("a stream that had ended has changed")
			}
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAServiceKeepsTheNewestStreams(t *testing.T) {
	dir := t.TempDir()
	for i := range maxFiles {
		name := fmt.Sprintf("20260101T000000.%03dZ-old.json", i)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := mustOpen(t, "--build-event-dir", dir)
	for i := range 3 {
		for _, e := range stored(path, fmt.Sprint("new", i)) {
			b.Publish(e)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(names) != maxFiles || !strings.HasSuffix(names[0], ".003Z-old.json") || !strings.HasSuffix(names[maxFiles-1], "-new2.json") {
		t.Errorf("%d files, from %s to %s: %v", len(names), names[0], names[len(names)-1], err)
	}
}

// A backend that answers nothing holds up no build, nor the end of the service for longer than it may.
func TestABackendThatStallsHoldsUpNothing(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	r := &bestest.Recorder{Opened: func() error { <-release; return nil }}
	b := mustOpen(t, "--bes_backend", "grpc://"+r.Start(t), "--bes_timeout", "10ms")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range maxStreams + 10 {
		for _, e := range stored(path, fmt.Sprint(i)) {
			b.Publish(e)
		}
	}
	b.mu.Lock()
	n := b.streams
	b.mu.Unlock()
	if n > maxStreams {
		t.Errorf("%d streams at once", n)
	}
	if err := b.Close(ctx); err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
}

func TestLinksToResults(t *testing.T) {
	for url, want := range map[string]string{
		"": "", "https://x/invocation": "https://x/invocation/1", "https://x/invocation/": "https://x/invocation/1", "https://x/?id=": "https://x/?id=1",
	} {
		if got := (&Options{resultsURL: url}).results("1"); got != want {
			t.Errorf("%s: got %s", url, got)
		}
	}
}

// A file is not emptied by a command line that makes no sense.
func TestWrongUsageLeavesTheFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--bes_backend=ftp://x", "--build_event_text_file=" + name} {
		code, _ := command(t, "--build_event_json_file", name, flag)
		if data, err := os.ReadFile(name); code != 2 || err != nil || string(data) != "old" {
			t.Errorf("%s: %d: %q %v", flag, code, data, err)
		}
	}
}

// What is on the command line wins over a variable, also if one of them is the opposite of the other.
func TestOppositesOnTheCommandLineWin(t *testing.T) {
	no := &bestest.Recorder{Opened: func() error { return status.Error(codes.InvalidArgument, "no") }}
	backend := "--bes_backend=grpc://" + no.Start(t)
	for _, test := range []struct {
		variable, flag string
		code           int
	}{
		{"K6X_BES_BEST_EFFORT", "--nobes_best_effort", 1}, {"K6X_NOBES_BEST_EFFORT", "--bes_best_effort", 0}, {"K6X_NOBES_BEST_EFFORT", "--bes_timeout=1s", 1},
	} {
		t.Setenv(test.variable, "true")
		if code, printed := command(t, backend, test.flag); code != test.code {
			t.Errorf("%s=true %s: %d %s", test.variable, test.flag, code, printed)
		}
		t.Setenv(test.variable, "")
	}
}

func TestBuildsThatFail(t *testing.T) {
	dir := t.TempDir()
	b := mustOpen(t, "--build-event-dir", dir)
	for i, kind := range []k6x.Kind{k6x.BuildFailed, k6x.Canceled, k6x.Timeout, k6x.Internal} {
		failure := k6x.Errorf(kind, "no")
		for _, e := range stored(path, fmt.Sprint(i)) {
			switch e.Type {
			case event.Finished:
				e.Failure = failure
			case event.Stored:
				e.Type, e.Failure = event.Failed, failure
			}
			b.Publish(e)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, events := range streams(t, dir) {
		if err := beptest.Check(events); err != nil {
			t.Error(err)
		}
		for _, e := range events {
			if f := e.GetFinished(); f != nil && f.ExitCode.Code != 1 {
				t.Errorf("%d: exit code %d", i, f.ExitCode.Code)
			}
		}
	}
}
