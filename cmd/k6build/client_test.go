package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/cmd/internal/progress"
)

// dial returns a client of a handler, and where it notes how long it paused.
func dial(t *testing.T, h http.HandlerFunc) (*buildClient, *[]time.Duration) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := newClient(server.URL+"/base/", "token")
	if err != nil {
		t.Fatal(err)
	}
	var pauses []time.Duration
	c.Pause = func(ctx context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return ctx.Err()
	}
	return c, &pauses
}

var someDigest = strings.Repeat("ab", 32)

func TestARequestForABuildIsAsServicesReadIt(t *testing.T) {
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		body.ReadFrom(r.Body)
		want := `{"k6":"*","dependencies":[{"name":"k6/x/redis","constraints":"\u003e=0.3"},{"name":"subcommand:docs"},{"name":"subcommand:docs","constraints":"v1"}],"platform":"linux/amd64"}`
		if r.Method != "POST" || r.URL.Path != "/base/build" || r.Header.Get("Authorization") != "Bearer token" || body.String() != want {
			t.Errorf("%s %s %s", r.Method, r.URL, body.String())
		}
		fmt.Fprintf(w, `{"artifact":{"id":"a","url":"/k6","checksum":"%s","unknown":1}}`, strings.ToUpper(someDigest))
	})
	w := requestOptions{k6: "*", deps: []string{"k6/x/redis:>=0.3", "subcommand:docs", "subcommand:docs:v1"}, platform: "linux/amd64"}
	deps, err := w.dependencies()
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.build(t.Context(), buildRequest{K6: w.k6, Dependencies: deps, Platform: w.platform})
	if err != nil || got.URL != "http://"+c.Base.Host+"/k6" || got.Checksum != someDigest {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatMayBeGoneTheNextTimeIsTriedAgain(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504} {
		tries := 0
		c, pauses := dial(t, func(w http.ResponseWriter, _ *http.Request) {
			if tries++; tries == 3 {
				fmt.Fprintf(w, `{"artifact":{"url":"/k6","checksum":"%s"}}`, someDigest)
				return
			}
			if tries == 2 {
				w.Header().Set("Retry-After", "7")
			}
			w.WriteHeader(status)
		})
		_, err := c.build(t.Context(), buildRequest{})
		if p := *pauses; err != nil || len(p) != 2 || p[0] < time.Second || p[0] > 2*time.Second || p[1] != 7*time.Second {
			t.Errorf("%d: %v after pauses of %v", status, err, p)
		}
	}
}

func TestTryingAgainHasAnEnd(t *testing.T) {
	tries := 0
	c, pauses := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		tries++
		w.Header().Set("Retry-After", "99999999999999999999")
		w.WriteHeader(503)
		fmt.Fprint(w, `{"error":{"error":"build failed","reason":{"error":"the queue is full"}}}`)
	})
	_, err := c.build(t.Context(), buildRequest{})
	if err == nil || tries != maxTries || !strings.Contains(err.Error(), "the queue is full") || slices.Max(*pauses) > time.Minute {
		t.Errorf("%d tries, pauses of %v: %v", tries, *pauses, err)
	}
}

// Each answer that is not a binary is told in the words of its innermost reason, at once.
func TestAnswersThatAreNoBinary(t *testing.T) {
	for name, c := range map[string]struct {
		status       int
		body, want   string
		contentsType string
	}{
		"nested":           {200, `{"error":{"error":"a","reason":{"error":"b","reason":{"error":"unknown dependency k6/x/hallo"}}},"artifact":{}}`, "unknown dependency k6/x/hallo", ""},
		"text":             {200, `{"error":"plain words"}`, "plain words", ""},
		"empty reason":     {200, `{"error":{"error":"a","reason":{"error":""}}}`, "a", ""},
		"status":           {400, `{"error":{"error":"invalid request","reason":{"error":"unknown field"}}}`, "400 Bad Request: unknown field", ""},
		"page":             {404, "<html>", "404 Not Found: Not Found", "text/html"},
		"plain":            {403, "not for you\nreally", "403 Forbidden: not for you", "text/plain"},
		"no JSON":          {200, "hello", "does not answer as a build service does", ""},
		"no checksum":      {200, `{"artifact":{"url":"/k6","checksum":"12"}}`, "no checksum", ""},
		"another scheme":   {200, `{"artifact":{"url":"file:///etc/passwd","checksum":"` + someDigest + `"}}`, "no URL", ""},
		"terminal control": {200, `{"error":{"error":"\u001b[2Jevil\u0007"}}`, "[2Jevil", ""},
		"too deep":         {200, strings.Repeat(`{"error":`, 20000), "does not answer as", ""},
	} {
		tries := 0
		client, _ := dial(t, func(w http.ResponseWriter, _ *http.Request) {
			tries++
			w.Header().Set("Content-Type", c.contentsType)
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		_, err := client.build(t.Context(), buildRequest{})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\x1b\x07") || tries != 1 {
			t.Errorf("%s: %q after %d tries, want %q", name, err, tries, c.want)
		}
	}
}

// binaryServer serves a binary; what it does with each request is up to the steps.
func binaryServer(t *testing.T, data []byte, steps ...http.HandlerFunc) (*buildClient, artifact, *[]string) {
	t.Helper()
	var ranges []string
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent with a download")
		}
		ranges = append(ranges, r.Header.Get("Range"))
		w.Header().Set("Etag", `"one"`)
		if n := len(ranges); n <= len(steps) {
			steps[n-1](w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
	sum := sha256.Sum256(data)
	return c, artifact{URL: c.Base.String(), Checksum: hex.EncodeToString(sum[:])}, &ranges
}

// breakOff sends the first half and cuts the connection.
func breakOff(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func TestABrokenDownloadIsResumed(t *testing.T) {
	data := bytes.Repeat([]byte("k6"), 500_000)
	c, a, ranges := binaryServer(t, data, breakOff(data), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	name := filepath.Join(t.TempDir(), "k6")
	if err := c.download(t.Context(), a, name, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "bytes=500000-", "bytes=500000-"}; !slices.Equal(*ranges, want) {
		t.Errorf("asked for %q, want %q", *ranges, want)
	}
	wantFile(t, name, data)
}

func wantFile(t *testing.T, name string, data []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if info, err := os.Stat(name); err == nil && info.Mode()&0o100 == 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v", info.Mode())
	}
	if entries, _ := os.ReadDir(filepath.Dir(name)); len(entries) != 1 {
		t.Errorf("left %v", entries)
	}
}

// A server that has other bytes now, or sends another part, is asked for all of them.
func TestWhatCannotBeResumedStartsAgain(t *testing.T) {
	data := bytes.Repeat([]byte("k6"), 500_000)
	for name, step := range map[string]http.HandlerFunc{
		"whole": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) },
		"another part": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-3/1000000")
			w.WriteHeader(206)
		},
		"no such part": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) },
	} {
		t.Run(name, func(t *testing.T) {
			c, a, _ := binaryServer(t, data, breakOff(data), step)
			file := filepath.Join(t.TempDir(), "k6")
			if err := c.download(t.Context(), a, file, nil); err != nil {
				t.Fatal(err)
			}
			wantFile(t, file, data)
		})
	}
}

func TestADownloadThatFailsLeavesTheFileAsItWas(t *testing.T) {
	data := []byte("a binary")
	c, a, _ := binaryServer(t, data)
	good := a.Checksum
	file := filepath.Join(t.TempDir(), "k6")
	if err := os.WriteFile(file, []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.Checksum = someDigest
	if err := c.download(t.Context(), a, file, nil); err == nil || !strings.Contains(err.Error(), good) {
		t.Errorf("another checksum: %v", err)
	}
	wantFile(t, file, []byte("old"))

	gone, a, ranges := binaryServer(t, data, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	if err := gone.download(t.Context(), a, file, nil); err == nil || len(*ranges) != 1 {
		t.Errorf("404: %v after %d tries", err, len(*ranges))
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.download(canceled, a, file, nil); k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("canceled: %v", err)
	}
	wantFile(t, file, []byte("old"))
}

// A server that goes silent in the middle is given up, and asked again.
func TestAStalledDownloadIsTakenUpAgain(t *testing.T) {
	data := bytes.Repeat([]byte("k6"), 500_000)
	c, a, ranges := binaryServer(t, data, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c.Stall = 100 * time.Millisecond
	file := filepath.Join(t.TempDir(), "k6")
	if err := c.download(t.Context(), a, file, nil); err != nil {
		t.Fatal(err)
	}
	if len(*ranges) != 2 {
		t.Errorf("asked for %q", *ranges)
	}
	wantFile(t, file, data)
}

func TestProgressIsShownAndTakenAway(t *testing.T) {
	data := bytes.Repeat([]byte("k6"), 500_000)
	c, a, _ := binaryServer(t, data)
	var screen bytes.Buffer
	p := progress.On(&screen)
	p.Spin("building")
	if err := c.download(t.Context(), a, filepath.Join(t.TempDir(), "k6"), p); err != nil {
		t.Fatal(err)
	}
	p.Count("compiling", 3, 0)
	p.Count("compiling", 4, 10)
	p.Print(&screen, "a line that stays")
	p.Close()
	p.Spin("late")
	if progress.New(&screen, false) != nil || progress.New(os.Stderr, true) != nil {
		t.Error("progress where there is no terminal, or none is wanted")
	}
	if !strings.Contains(screen.String(), "building") || !strings.Contains(screen.String(), "downloading") ||
		!strings.Contains(screen.String(), "a line that stays") || strings.Contains(screen.String(), "late") {
		t.Errorf("shown: %q", screen.String())
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{}`, `{"error":{"error":"x","reason":{"error":"y"}}}`, `{"error":"x"}`, `{"artifact":{"dependencies":{"k6":"v1"}}}`, `{"error":[]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var answer buildAnswer
		if err := json.Unmarshal(data, &answer); err != nil {
			return
		}
		_ = k6x.Printable(answer.Error.innermost())
		var out bytes.Buffer
		if err := answer.Artifact.print(&out); err != nil || bytes.ContainsAny(out.Bytes(), "\x1b\x07\r") {
			t.Errorf("%q, %v", out.String(), err)
		}
	})
}

func TestPublishNeedsTheStoreToHaveTheSameBytes(t *testing.T) {
	c, _ := dial(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"Error":"","Object":{"ID":"x","Checksum":"%s","URL":"http://elsewhere.example.com/x"}}`, strings.Repeat("cd", 32))
	})
	p := newPublisher(c.Base, "")
	if location, err := p.publish(t.Context(), someDigest, nil); k6x.KindOf(err) != k6x.Unavailable {
		t.Errorf("%s, %v", location, err)
	}
	if location, err := p.publish(t.Context(), strings.Repeat("cd", 32), nil); err != nil || location != "http://elsewhere.example.com/x" {
		t.Errorf("%s, %v", location, err)
	}
}

func TestATokenHasNoSpaces(t *testing.T) {
	t.Setenv(tokenVariable, "two words")
	if _, err := cli.Token(tokenVariable, ""); err == nil || strings.Contains(err.Error(), "words") {
		t.Errorf("%v", err)
	}
	if _, err := cli.Token(tokenVariable, "/does/not/exist"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
