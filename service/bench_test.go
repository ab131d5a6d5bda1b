package service_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/cache/blob/mem"
	"k6x/cache/dir"
	"k6x/cache/journal"
	"k6x/event"
	"k6x/history"
	"k6x/service"
)

// sized returns a server whose every binary is size bytes, in a store on disk.
func sized(b *testing.B, size int64) (*httptest.Server, *service.Service) {
	b.Helper()
	store, err := dir.Open(dir.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	return newServer(b, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(engineOfZeros(size), store, nil)
	}})
}

// BenchmarkHit serves binaries of two sizes over a real connection: what is allocated for
// one does not depend on its size.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int64{1 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("%dMiB", size>>20), func(b *testing.B) {
			server, _ := sized(b, size)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				resp, err := http.Get(server.URL + helloPath)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if n != size || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

// BenchmarkHandler times answers that send no binary, without a network.
func BenchmarkHandler(b *testing.B) {
	server, s := sized(b, 1<<20)
	resp, _ := do(b, "GET", server.URL+helloPath)
	for name, request := range map[string]struct {
		path, etag string
		status     int
	}{
		"304":  {helloPath, resp.Header.Get("Etag"), 304},
		"301":  {"/linux/amd64/k6/x/hello@0.1.1,k6@1.1.0", "", 301},
		"307":  {"/linux/amd64/k6/x/hello", "", 307},
		"HEAD": {helloPath, "", 200},
	} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodHead, request.path, nil)
			if request.etag != "" {
				r.Header.Set("If-None-Match", request.etag)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code != request.status {
					b.Fatal(w.Code)
				}
			}
		})
	}
}

// engineOfZeros makes binaries of so many zeros: the subject is how they are sent.
type engineOfZeros int64

func (n engineOfZeros) Build(_ context.Context, _ builder.Job, _ event.Sink, w io.Writer) (k6x.Build, error) {
	zeros := make([]byte, 1<<20)
	for left := int64(n); left > 0; left -= int64(len(zeros)) {
		if _, err := w.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
			return k6x.Build{}, err
		}
	}
	return k6x.Build{}, nil
}

// BenchmarkAnswer times answers over a real connection, with an access log, by a client that
// allocates nothing; the file server of net/http gives the same bytes to compare.
func BenchmarkAnswer(b *testing.B) {
	const size = 1 << 20
	store, err := dir.Open(dir.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	server, _ := newServer(b, parts{
		config: service.Config{Store: store, MaxWait: time.Minute, Compress: service.Codings(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
		builder: func(builder.Builder) builder.Builder {
			return builder.Keep(engineOfZeros(size), store, nil)
		},
	})
	resp, body := do(b, "GET", server.URL+helloPath)
	name := filepath.Join(b.TempDir(), "k6")
	if err := os.WriteFile(name, body, 0o644); err != nil {
		b.Fatal(err)
	}
	files := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(name))))
	b.Cleanup(files.Close)
	fileResp, _ := do(b, "HEAD", files.URL+"/k6")
	for _, c := range []struct {
		name, url, path, header string
	}{
		{"304/k6x", server.URL, helloPath, "If-None-Match: " + resp.Header.Get("Etag")},
		{"304/nethttp", files.URL, "/k6", "If-Modified-Since: " + fileResp.Header.Get("Last-Modified")},
		{"200/k6x", server.URL, helloPath, "X: y"},
		{"200/nethttp", files.URL, "/k6", "X: y"},
		{"301/k6x", server.URL, "/linux/amd64/k6/x/hello@0.1.1,k6@1.1.0", "X: y"},
	} {
		b.Run(c.name, func(b *testing.B) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: it\r\nUser-Agent: bench\r\n%s\r\n\r\n", c.path, c.header)
			in := bufio.NewReaderSize(conn, 64<<10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				if status, err := skipAnswer(in); err != nil || string(status[:]) != c.name[:3] {
					b.Fatalf("%s %v", status[:], err)
				}
			}
		})
	}
}

// skipAnswer reads an answer, and returns its status.
func skipAnswer(in *bufio.Reader) (status [3]byte, err error) {
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return status, err
		}
		if rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 ")); ok {
			copy(status[:], rest)
		}
		if rest, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			for _, c := range bytes.TrimSpace(rest) {
				length = 10*length + int(c-'0')
			}
		}
		if len(line) == 2 {
			break
		}
	}
	_, err = in.Discard(length)
	return status, err
}

// BenchmarkPages times pages and their JSON, with many results of builds and a large registry, without a network.
func BenchmarkPages(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	bucket := &mem.Bucket{}
	h := history.New(journal.New(journal.Config{Bucket: bucket}), 10_000, log)
	for i := range 2000 {
		r := &history.Result{ID: fmt.Sprint(i), Path: helloPath, Platform: "linux/amd64", Begun: time.Now(), Ended: time.Now(), Service: "me", Outcome: history.Built,
			Modules: []history.Module{{Name: "k6", Version: "v1.1.0"}, {Name: fmt.Sprintf("k6/x/ext%d", i), Version: "v0.3.0"}}}
		if i%10 == 0 {
			r.Outcome, r.Error = history.Failed, "it does not compile"
		}
		if err := h.Append(b.Context(), history.Entry{Type: history.Build, Result: r}); err != nil {
			b.Fatal(err)
		}
	}
	_, s := newServer(b, parts{overlay: []string{manyExtensions(b, 10_000)}, config: service.Config{
		Builds: service.Builds{History: h, Recorder: history.NewRecorder(h, &mem.Bucket{}, nil, "me", log), Events: new(event.Stream)},
	}})
	for _, path := range []string{"/", "/?q=ext99&sort=stars", "/builds", "/matrix", "/status", "/changes", "/help", "/index.json", "/extensions", "/builds.json", "/matrix.json", "/status.json"} {
		b.Run(path, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Header.Set("Accept", "text/html")
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
}
