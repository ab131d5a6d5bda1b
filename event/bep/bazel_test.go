package bep_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"k6x/event/bep/beptest"
	"k6x/event/bep/pb"
)

// A stream that Bazel wrote keeps the rules that ours are checked by: package bes has recorded it.
func TestStreamOfBazelKeepsTheRules(t *testing.T) {
	data, err := os.ReadFile("beptest/testdata/bazel.binary")
	if err != nil {
		t.Fatal(err)
	}
	var events []*pb.BuildEvent
	for r := bytes.NewReader(data); ; {
		e := new(pb.BuildEvent)
		err := protodelim.UnmarshalFrom(r, e)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	if err := beptest.Check(events); err != nil {
		t.Error(err)
	}
	if len(events) < 20 {
		t.Errorf("%d events", len(events))
	}
}

// newer are fields that the schema of that Bazel, of 2021, does not have yet.
var newer = map[string]bool{
	"started.9":                      true, // start_time
	"id.fetch.2":                     true, // downloader
	"children.fetch.2":               true,
	"action.12":                      true, // start_time
	"action.13":                      true, // end_time
	"action.stderr.6":                true, // length
	"build_tool_logs.log.6":          true,
	"named_set_of_files.files.6":     true,
	"named_set_of_files.files.5":     true, // digest
	"finished.5":                     true, // finish_time
	"build_metrics.action_summary.4": true, // action_data
	"build_metrics.action_summary.6": true, // runner_count
	"build_metrics.timing_metrics.3": true, // analysis_phase_time_in_ms
	"build_metrics.timing_metrics.4": true, // execution_phase_time_in_ms
	"build_metrics.7":                true, // artifact_metrics
}

// Bazel's schema knows each other field of ours.
func TestBazelKnowsOurEvents(t *testing.T) {
	if os.Getenv("K6X_TEST_NIGHTLY") == "" {
		t.Skip("SKIPPED: K6X_TEST_NIGHTLY=1 needs Debian's bazel-bootstrap-source")
	}
	var all []*pb.BuildEvent
	for _, run := range streams {
		all = append(all, record(run)...)
	}
	const schema = "/usr/src/bazel-bootstrap"
	for _, e := range all {
		data, err := proto.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("protoc", "-I", schema, "--decode=build_event_stream.BuildEvent",
			schema+"/src/main/java/com/google/devtools/build/lib/buildeventstream/proto/build_event_stream.proto")
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", e, err)
		}
		for _, field := range unknown(string(out)) {
			if !newer[field] {
				t.Errorf("Bazel does not know %s of\n%s", field, out)
			}
		}
	}
}

// unknown returns the fields of a decoded message that have numbers instead of names, with the names of those that they are in.
func unknown(text string) (fields []string) {
	var path []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "}" {
			path = path[:len(path)-1]
			continue
		}
		name := line[:strings.IndexAny(line, ": ")]
		known := strings.Trim(strings.Join(path, ""), "0123456789") == strings.Join(path, "")
		if strings.Trim(name, "0123456789") == "" && known {
			fields = append(fields, strings.Join(append(path, name), "."))
		}
		if strings.HasSuffix(line, "{") {
			path = append(path, name)
		}
	}
	return fields
}
