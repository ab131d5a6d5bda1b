package service_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"k6x/cache/blob/mem"
	"k6x/event/bep"
	"k6x/event/bep/beptest"
	"k6x/event/bep/pb"
	"k6x/service"
)

// protocol reads the stream of a build in both forms, by header and by path, and returns it.
func protocol(t *testing.T, url string) []*pb.BuildEvent {
	t.Helper()
	resp, lines := do(t, http.MethodGet, url+"/events", "Accept: application/protobuf+json, application/x-ndjson;q=0.5")
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "application/protobuf+json; charset=utf-8" {
		t.Errorf("%s %s", resp.Status, kind)
	}
	events, err := bep.ReadJSON(bytes.NewReader(lines))
	if err == nil {
		err = beptest.Check(events)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, lines)
	}
	for _, get := range [][]string{{url + "/events", "Accept: application/protobuf"}, {url + "/events.bep"}} {
		resp, data := do(t, http.MethodGet, get[0], get[1:]...)
		if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || kind != "application/protobuf" {
			t.Errorf("%s: %s %s", get, resp.Status, kind)
		}
		var same []*pb.BuildEvent
		for r := bytes.NewReader(data); ; {
			e := new(pb.BuildEvent)
			if err := protodelim.UnmarshalFrom(r, e); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			same = append(same, e)
		}
		if len(same) != len(events) || !proto.Equal(same[len(same)-1], events[len(events)-1]) {
			t.Errorf("%s: %d events, %d in JSON", get, len(same), len(events))
		}
	}
	if resp, same := do(t, http.MethodGet, url+"/events.bep.json"); resp.StatusCode != http.StatusOK || !bytes.Equal(same, lines) {
		t.Errorf("%s\n%s\nis not\n%s", resp.Status, same, lines)
	}
	return events
}

// The events of a build are a stream of the Build Event Protocol, while it goes on, later, and where only its result is known.
func TestEventsInTheBuildEventProtocol(t *testing.T) {
	t.Parallel()
	bucket := &mem.Bucket{}
	config := service.Config{Version: service.Version{K6x: "v9"}}
	server, other := newHistoryServer(t, bucket, parts{config: config}), newHistoryServer(t, bucket, parts{config: config})
	for path, success := range map[string]bool{helloPath: true, brokenPath: false} {
		_, url := start(t, server, path)
		running := protocol(t, url)
		ended := result(t, server, url)
		there := other.URL + strings.TrimPrefix(url, server.URL)
		result(t, other, there)
		for name, events := range map[string][]*pb.BuildEvent{"running": running, "ended": protocol(t, url), "of another service": protocol(t, there)} {
			var words strings.Builder
			for _, e := range events {
				line, err := bep.JSON(e)
				if err != nil {
					t.Fatal(err)
				}
				words.Write(line)
				if f := e.GetFinished(); f != nil && (f.OverallSuccess != success || !f.FinishTime.AsTime().Equal(ended.Ended)) {
					t.Errorf("%s, %s: %v at %s", path, name, f, ended.Ended)
				}
			}
			wanted := []string{`"uuid":"` + ended.ID + `"`, `"buildToolVersion":"k6x v9"`, `"toolchain":"` + ended.Toolchain + `"`, `/builds/` + ended.ID + `/log"`, `"type":"prepare"`}
			if success {
				wanted = append(wanted, `"digest":"`+ended.Digest+`"`, helloPath+`"`)
			}
			for _, want := range wanted {
				if !strings.Contains(words.String(), want) {
					t.Errorf("%s, %s: %s is not in\n%.3000s", path, name, want, words.String())
				}
			}
		}
	}
	for _, form := range []string{"events", "events.bep", "events.bep.json"} {
		if resp, _ := do(t, http.MethodGet, server.URL+"/builds/none/"+form); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s of no build: %s", form, resp.Status)
		}
	}
}

// Who names no form of events by its name gets lines of JSON.
func TestFormsOfEvents(t *testing.T) {
	t.Parallel()
	server := newHistoryServer(t, &mem.Bucket{}, parts{})
	_, url := start(t, server, helloPath)
	result(t, server, url)
	for accept, want := range map[string]string{
		"": "application/x-ndjson", "*/*": "application/x-ndjson", "text/*": "application/x-ndjson", "application/*": "application/x-ndjson", "application/json": "application/x-ndjson",
		"text/event-stream": "text/event-stream", "text/event-stream;q=0.5, application/x-ndjson": "application/x-ndjson", "application/protobuf;q=0": "application/x-ndjson",
		"application/protobuf, text/event-stream;q=0": "application/protobuf",
	} {
		if resp, _ := do(t, http.MethodGet, url+"/events", "Accept: "+accept); resp.Header.Get("Content-Type") != want {
			t.Errorf("%q: %s, want %s", accept, resp.Header.Get("Content-Type"), want)
		}
		if resp, _ := do(t, http.MethodHead, server.URL+"/changes", "Accept: "+accept); strings.HasPrefix(want, "text/") != (resp.Header.Get("Content-Type") == "text/event-stream") {
			t.Errorf("/changes for %q: %s", accept, resp.Header.Get("Content-Type"))
		}
	}
}
