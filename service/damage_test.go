package service_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x/builder"
	"k6x/cache/dir"
	"k6x/cache/objects"
	"k6x/internal/disk"
	"k6x/service"
)

// flipStored changes a byte of the one binary in the directory of a store.
func flipStored(t *testing.T, where string) {
	t.Helper()
	flipFile(t, filepath.Join(where, "artifacts", "*", "*", "binary"))
}

// flipFile changes a byte of the one file that a pattern matches.
func flipFile(t *testing.T, pattern string) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	changed := func() int64 {
		info, err := os.Stat(names[0])
		if err != nil {
			t.Fatal(err)
		}
		_, at := disk.State(info)
		return at
	}
	for was := changed(); changed() == was; { // until the clock of the file system has gone on
		if err := os.WriteFile(names[0], data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// onDirectory returns the URL of a service whose store is in a directory, as a process that starts has it.
func onDirectory(t *testing.T, where string) string {
	t.Helper()
	store, err := dir.Open(dir.Config{Dir: where})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	server, _ := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(lines{}, store, nil)
	}})
	return server.URL
}

func TestNoClientTakesADamagedBinaryForWhole(t *testing.T) {
	where := t.TempDir()
	first := onDirectory(t, where)
	want, whole := do(t, "GET", first+helloPath)
	ranges := map[string]string{"whole": "", "a range": "bytes=1-100", "the last byte": "bytes=-1", "ranges": "bytes=0-9,20-29"}
	for name, asked := range ranges {
		for process, url := range map[string]string{"this process": first, "the next": onDirectory(t, where)} {
			t.Run(name+" of "+process, func(t *testing.T) {
				flipStored(t, where)
				req, err := http.NewRequestWithContext(t.Context(), "GET", url+helloPath, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Range", asked)
				// On a connection that was used before, the client would try again by itself.
				resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
					t.Errorf("the damaged binary was sent to its end: %v", err)
				}
				again, body := do(t, "GET", url+helloPath)
				if again.StatusCode != 200 || !bytes.Equal(body, whole) || again.Header.Get("Etag") != want.Header.Get("Etag") {
					t.Errorf("%s, %d bytes with tag %s, want those of before", again.Status, len(body), again.Header.Get("Etag"))
				}
			})
		}
	}
}

// What clients stored under ids of their own is no different, but that it cannot be made again: it can be stored again.
func TestNoClientTakesADamagedObjectForWhole(t *testing.T) {
	where := t.TempDir()
	first, store := newObjects(t, objects.Config{Dir: where}, service.ObjectsConfig{})
	body := strings.Repeat("the body ", 100_000)
	for name, asked := range map[string]string{"whole": "", "a range": "bytes=1-100", "the last byte": "bytes=-1"} {
		t.Run(name, func(t *testing.T) {
			if resp, answer := send(t, "POST", first.URL+"/store/one", strings.NewReader(body)); resp.StatusCode != 200 {
				t.Fatalf("%s: %s", resp.Status, answer)
			}
			if _, got := do(t, "GET", first.URL+"/store/one/download"); string(got) != body {
				t.Errorf("%d bytes", len(got))
			}
			flipFile(t, filepath.Join(where, "objects", "*", "*", "body"))
			req, err := http.NewRequestWithContext(t.Context(), "GET", first.URL+"/store/one/download", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Range", asked)
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
				t.Errorf("the damaged object was sent to its end: %v", err)
			}
			if again, _ := do(t, "GET", first.URL+"/store/one/download"); again.StatusCode != 404 {
				t.Errorf("then it is %s", again.Status)
			}
			wantStored(t, store, 0, 0)
		})
	}
}

// An answer without bytes of the binary has none read.
func TestOnlyBytesThatAreSentAreVerified(t *testing.T) {
	where := t.TempDir()
	tag := func() string {
		resp, _ := do(t, "HEAD", onDirectory(t, where)+helloPath)
		return resp.Header.Get("Etag")
	}
	do(t, "GET", onDirectory(t, where)+helloPath)
	url := onDirectory(t, where)
	flipStored(t, where)
	for name, c := range map[string]struct {
		method, header string
		status         int
	}{
		"HEAD":              {"HEAD", "Accept: */*", 200},
		"If-None-Match":     {"GET", "If-None-Match: " + tag(), 304},
		"If-Modified-Since": {"GET", "If-Modified-Since: " + time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 304},
		"If-Match":          {"GET", `If-Match: "other"`, 412},
		"Range":             {"GET", "Range: bytes=999999999-", 416},
	} {
		if resp, _ := do(t, c.method, url+helloPath, c.header); resp.StatusCode != c.status {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	time.Sleep(50 * time.Millisecond) // for a reading that should not be
	if left, err := filepath.Glob(filepath.Join(where, "artifacts", "*", "*", "binary")); err != nil || len(left) != 1 {
		t.Errorf("the damage was found: %v, %v", left, err)
	}
}

func TestNoCacheReadsTheStoredBytes(t *testing.T) {
	where := t.TempDir()
	url := onDirectory(t, where)
	_, whole := do(t, "GET", url+helloPath)
	flipStored(t, where)
	body := `{"k6": "=v1.1.0", "dependencies": [{"name": "k6/x/hello", "constraints": "=v0.1.1"}], "platform": "linux/amd64", "nocache": true}`
	resp, answer := send(t, "POST", url+"/build", strings.NewReader(body))
	if resp.StatusCode != 200 || !strings.Contains(string(answer), hexDigest(whole)) || strings.Contains(string(answer), "other bytes") {
		t.Errorf("%s\n%s", resp.Status, answer)
	}
	if _, got := do(t, "GET", url+helloPath); !bytes.Equal(got, whole) {
		t.Error("the damaged bytes are still there")
	}
}
