package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k6x"
)

// from serves steps, then the binary, and notes the ranges of requests.
func from(t *testing.T, steps ...http.HandlerFunc) (*Client, *[]string) {
	t.Helper()
	ranges := new([]string)
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		*ranges = append(*ranges, r.Header.Get("Range"))
		if n := len(*ranges); n <= len(steps) {
			steps[n-1](w, r)
			return
		}
		serveData(w, r)
	})
	return c, ranges
}

// wantBinary checks what is returned of the binary that is served.
func wantBinary(t *testing.T, c *Client, got Binary, err error) {
	t.Helper()
	if want := c.Base.JoinPath("linux/amd64", pinned).String(); err != nil || got.URL != want || got.Platform != linux ||
		got.List.String() != pinned || got.Digest != sumOf(data) || got.Size != int64(len(data)) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestABrokenDownloadIsResumed(t *testing.T) {
	for name, then := range map[string]func(*http.Request){"cut": cut, "stalled": stall} {
		t.Run(name, func(t *testing.T) {
			c, ranges := from(t, half(then), status(503, "", ""))
			c.Stall = 200 * time.Millisecond
			var last Event
			c.Progress = func(e Event) {
				if e.Step == Downloading {
					last = e
				}
			}
			file := tempFile(t)
			got, err := c.Fetch(t.Context(), linux, list(t, pinned), file)
			wantBinary(t, c, got, err)
			if want := []string{"", "bytes=500000-", "bytes=500000-"}; !slices.Equal(*ranges, want) {
				t.Errorf("asked for %q, want %q", *ranges, want)
			}
			if last.Done != got.Size || last.Total != got.Size {
				t.Errorf("told %+v", last)
			}
			wantBytes(t, file, data)
		})
	}
}

// A server that has other bytes now, or sends another part, is asked for all of them.
func TestWhatCannotBeResumedStartsAgain(t *testing.T) {
	for name, step := range map[string]http.HandlerFunc{
		"whole": func(w http.ResponseWriter, _ *http.Request) { announce(w, data); _, _ = w.Write(data) },
		"another part": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-3/1000000")
			w.WriteHeader(206)
		},
		"no such part": status(416, "", ""),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := from(t, half(cut), step)
			file := tempFile(t)
			got, err := c.Fetch(t.Context(), linux, list(t, pinned), file)
			wantBinary(t, c, got, err)
			wantBytes(t, file, data)
		})
	}
}

// Each of these is found out after an answer that broke off, and leaves nothing.
func TestWrongBytesAreAnErrorAndLeaveNothing(t *testing.T) {
	wrong := append(slices.Clone(data[:len(data)-1]), 'x')
	for name, c := range map[string]struct {
		words  string
		answer http.HandlerFunc
	}{
		"other bytes":                        {"but it should have", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wrong) }},
		"other bytes, announced":             {"announces a binary", func(w http.ResponseWriter, _ *http.Request) { announce(w, wrong); _, _ = w.Write(wrong) }},
		"other bytes under the right digest": {"but it should have", func(w http.ResponseWriter, _ *http.Request) { announce(w, data); _, _ = w.Write(wrong) }},
		"a page":                             {"sends a binary of 6 bytes", status(200, "text/html", "<html>")},
		"too many": {"larger than", func(w http.ResponseWriter, r *http.Request) {
			for range 3 {
				_, _ = w.Write(data)
				_ = http.NewResponseController(w).Flush()
			}
		}},
		"too few, each time": {"broke off", func(w http.ResponseWriter, r *http.Request) { // chunked, so that it looks complete
			_, _ = w.Write(data[:10])
			_ = http.NewResponseController(w).Flush()
		}},
		"gone": {"404", status(404, "", "")},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := from(t, append([]http.HandlerFunc{half(cut)}, slices.Repeat([]http.HandlerFunc{c.answer}, 10)...)...)
			file := tempFile(t)
			got, err := client.Fetch(t.Context(), linux, list(t, pinned), file)
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%+v, %v", got, err)
			}
			wantBytes(t, file, nil)
		})
	}
}

func TestADigestIsNeeded(t *testing.T) {
	c, _ := from(t)
	got, err := fetch(t, c, pinned)
	wantBinary(t, c, got, err)
	c, _ = from(t, status(200, "text/html", "<html>"))
	if got, err := fetch(t, c, pinned); err == nil || !strings.Contains(err.Error(), "does not answer as") {
		t.Errorf("%+v, %v", got, err)
	}
	c, _ = from(t)
	c.MaxSize = 1000
	if got, err := fetch(t, c, pinned); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%+v, %v", got, err)
	}
}

// A download by URL and digest may come from anywhere, which is given no credentials.
func TestADownloadByDigest(t *testing.T) {
	c, _ := dial(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token was sent with a download")
		}
		_, _ = w.Write(data)
	})
	file := tempFile(t)
	got, err := c.Download(t.Context(), c.Base.String(), sumOf(data), file)
	if err != nil || got.URL != c.Base.String() || got.Digest != sumOf(data) || got.Size != int64(len(data)) {
		t.Errorf("%+v, %v", got, err)
	}
	wantBytes(t, file, data)
	file = tempFile(t)
	if got, err := c.Download(t.Context(), c.Base.String(), sumOf(nil), file); err == nil || !strings.Contains(err.Error(), "but it should have") {
		t.Errorf("%+v, %v", got, err)
	}
	wantBytes(t, file, nil)
	if got, err := c.Download(t.Context(), c.Base.String(), "", file); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("%+v, %v", got, err)
	}
}

// The bucket that a service redirects to knows nothing of tokens, digests and names.
func TestABucketBehindTheServiceWillDo(t *testing.T) {
	tries := 0
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.URL.RawQuery != "signature=1" {
			t.Errorf("%s %v", r.URL, r.Header)
		}
		w.Header().Set("Etag", `"0123456789abcdef0123456789abcdef"`)
		if tries++; tries == 1 {
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(data[:1000])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("Range") != "bytes=1000-" || r.Header.Get("If-Range") == "" {
			t.Errorf("not resumed: %v", r.Header)
		}
		w.Header().Del("Repr-Digest")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(data)))
	}))
	defer bucket.Close()
	redirect := http.RedirectHandler(bucket.URL+"/x?signature=1", http.StatusTemporaryRedirect).ServeHTTP
	c, ranges := from(t, redirect, serveData, redirect) // the second is the HEAD that asks for the digest
	file := tempFile(t)
	got, err := c.Fetch(t.Context(), linux, list(t, pinned), file)
	wantBinary(t, c, got, err)
	wantBytes(t, file, data)
	if len(*ranges) != 3 {
		t.Errorf("%d requests to the service", len(*ranges))
	}
	tries = 0
	c, _ = from(t, redirect, status(200, "text/html", ""), redirect)
	if got, err := fetch(t, c, pinned); err == nil || !strings.Contains(err.Error(), "does not answer as") {
		t.Errorf("a service without digests: %+v, %v", got, err)
	}
}

func TestAnInterruptedDownloadLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := from(t, half(func(r *http.Request) { cancel(); stall(r) }))
	file := tempFile(t)
	if _, err := c.Fetch(ctx, linux, list(t, pinned), file); k6x.KindOf(err) != k6x.Canceled {
		t.Error(err)
	}
	wantBytes(t, file, nil)
}

// An error of the disk is told as it is, and not tried again.
func TestAFileThatCannotBeWritten(t *testing.T) {
	c, ranges := from(t)
	name := tempFile(t).Name()
	file, err := os.Open(name) // to read
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := c.Fetch(t.Context(), linux, list(t, pinned), file); err == nil || k6x.KindOf(err) == k6x.Unavailable || len(*ranges) > 1 {
		t.Errorf("%v after %d tries", err, len(*ranges))
	}
	full := errors.New("disk full")
	if _, err := c.Fetch(t.Context(), linux, list(t, pinned), fullFile{tempFile(t), full}); !errors.Is(err, full) || len(*ranges) > 2 {
		t.Errorf("%v after %d tries", err, len(*ranges))
	}
}

type fullFile struct {
	*os.File
	err error
}

func (f fullFile) Write(p []byte) (int, error) { return 0, f.err }

// What gets on each time is not given up after a few tries; what does not is.
func TestTriesAreCountedFromTheLastProgress(t *testing.T) {
	part := func(w http.ResponseWriter, r *http.Request) {
		announce(w, data)
		http.ServeContent(&short{ResponseWriter: w, left: 100_000}, r, "", time.Time{}, strings.NewReader(string(data)))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	c, ranges := from(t, slices.Repeat([]http.HandlerFunc{part}, 8)...)
	file := tempFile(t)
	if _, err := c.Fetch(t.Context(), linux, list(t, pinned), file); err != nil || len(*ranges) != 9 {
		t.Errorf("%v after %d tries", err, len(*ranges))
	}
	wantBytes(t, file, data)
	c, ranges = from(t, slices.Repeat([]http.HandlerFunc{status(503, "", "")}, 100)...)
	if _, err := c.Fetch(t.Context(), linux, list(t, pinned), file); err == nil || len(*ranges) != 4 {
		t.Errorf("%v after %d tries", err, len(*ranges))
	}
}

// short takes no more than what is left.
type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p[:min(len(p), s.left)])
	if s.left -= n; n < len(p) && err == nil {
		err = errors.New("enough")
	}
	return n, err
}

func TestURLsThatAreNone(t *testing.T) {
	for _, u := range []string{"", "k6", "file:///etc/passwd", "http://", "http://a\x7f"} {
		if _, err := new(Client).Download(t.Context(), u, sumOf(nil), tempFile(t)); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%q: %v", u, err)
		}
		if _, err := ParseBase(u); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("base %q: %v", u, err)
		}
	}
}
