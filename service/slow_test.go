package service_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k6x/builder"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/dir"
	"k6x/service"
)

// pipes is a listener whose connections live in memory, and in the time of a synctest.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// A client has 5 minutes for each 2 MiB.
func TestADownloadHasToMoveOnAndMayBeSlow(t *testing.T) {
	const size = 4 << 20
	log, store := &written{}, bucket.Memory(bucket.Config{})
	server, s := newServer(t, parts{
		config: service.Config{Store: store, Logger: slog.New(slog.NewTextHandler(log, nil))},
		builder: func(builder.Builder) builder.Builder {
			return builder.Keep(engineOfZeros(size), store, nil)
		},
	})
	do(t, "GET", server.URL+helloPath)
	for _, c := range []struct {
		name  string
		piece int64 // bytes that are read at once
		every time.Duration
		whole bool
		after time.Duration // from the request to the end
	}{
		{"a byte a minute", 1, time.Minute, false, 6 * time.Minute}, // it sees the end when it reads next
		{"56 kbit/s, almost", 6900, time.Second, false, 301 * time.Second},
		{"64 kbit/s", 8000, time.Second, true, 525 * time.Second},
		{"nothing for four minutes, then all", size + 4096, 4 * time.Minute, true, 4 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conns := make(pipes)
				var gone atomic.Int64
				began := time.Now()
				h := &http.Server{Handler: s, ConnState: func(_ net.Conn, state http.ConnState) {
					if state == http.StateClosed {
						gone.Store(int64(time.Since(began)))
					}
				}}
				go h.Serve(conns)
				client, served := net.Pipe()
				conns <- served
				close(conns)
				fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", helloPath)
				var got int64
				var err error
				for err == nil {
					time.Sleep(c.every)
					var n int64
					n, err = io.CopyN(io.Discard, client, c.piece)
					got += n
				}
				synctest.Wait()
				if whole := got > size; whole != c.whole || time.Duration(gone.Load()) > c.after {
					t.Errorf("%d bytes of %d came, the end after %s: %v", got, size, time.Duration(gone.Load()), err)
				}
				if strings.Contains(log.String(), "too slow") == c.whole {
					t.Errorf("the log:\n%s", log)
				}
				log.mu.Lock()
				log.buf.Reset()
				log.mu.Unlock()
			})
		})
	}
}

// sends is a writer that knows what it was to read from.
type sends struct {
	*httptest.ResponseRecorder
	bodies []io.Reader
}

func (s *sends) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		s.bodies = append(s.bodies, limited.R)
	}
	return io.Copy(s.ResponseRecorder, src)
}

// The net package sends a file, or a part of one, without copying it. Nothing may come in between.
func TestAFileReachesTheConnectionAsAFile(t *testing.T) {
	const size = 5 << 20
	store, err := dir.Open(dir.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	server, s := newServer(t, parts{config: service.Config{Store: store}, builder: func(builder.Builder) builder.Builder {
		return builder.Keep(engineOfZeros(size), store, nil)
	}})
	do(t, "GET", server.URL+helloPath)
	for header, want := range map[string]int{"": size, "bytes=1000-": size - 1000} {
		w := &sends{ResponseRecorder: httptest.NewRecorder()}
		r := httptest.NewRequest("GET", helloPath, nil)
		r.Header.Set("Range", header)
		s.ServeHTTP(w, r)
		if len(w.bodies) == 0 || w.Body.Len() != want {
			t.Errorf("%q: %d pieces, %d bytes, not %d", header, len(w.bodies), w.Body.Len(), want)
		}
		for _, body := range w.bodies {
			if _, ok := body.(*os.File); !ok {
				t.Errorf("%q: a piece is read from a %T", header, body)
			}
		}
	}
}

// lent counts the entries of a store that are open.
type lent struct {
	cache.Store
	open atomic.Int64
}

func (l *lent) Open(ctx context.Context, key string) (*cache.Entry, error) {
	entry, err := l.Store.Open(ctx, key)
	if err == nil {
		release := entry.Release
		l.open.Add(1)
		entry.Release = func() { l.open.Add(-1); release() }
	}
	return entry, err
}

// Here with sockets and sendfile, and others who download the same file meanwhile.
func TestAStalledDownloadIsCutOffAndHoldsNothing(t *testing.T) {
	const size = 32 << 20 // more than the buffers of a connection take
	kept, err := dir.Open(dir.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kept.Close() })
	store := &lent{Store: kept}
	server, s := newServer(t, parts{
		config: service.Config{Store: store, Stall: time.Second},
		builder: func(builder.Builder) builder.Builder {
			return builder.Keep(engineOfZeros(size), store, nil)
		},
	})
	do(t, "GET", server.URL+helloPath)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	gone := map[string]chan struct{}{}
	closed := func(addr string) chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if gone[addr] == nil {
			gone[addr] = make(chan struct{})
		}
		return gone[addr]
	}
	h := &http.Server{Handler: s, ConnState: func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed { // the last thing that the goroutine of a connection does
			close(closed(conn.RemoteAddr().String()))
		}
	}}
	go h.Serve(listener)
	t.Cleanup(func() { h.Close() })

	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", helloPath)
	head := make([]byte, 64<<10)
	if _, err := io.ReadFull(conn, head); err != nil || !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) {
		t.Fatalf("%v\n%.40s", err, head)
	}
	// From here on it takes nothing more.
	for range 8 {
		if resp, body := do(t, "GET", "http://"+listener.Addr().String()+helloPath); resp.StatusCode != 200 || len(body) != size {
			t.Errorf("another one: %s with %d bytes", resp.Status, len(body))
		}
	}
	select {
	case <-closed(conn.LocalAddr().String()):
	case <-time.After(time.Minute):
		t.Fatal("it still has its connection")
	}
	if err := h.Shutdown(t.Context()); err != nil { // the others have their last byte, but may not have ended
		t.Fatal(err)
	}
	if n := store.open.Load(); n != 0 {
		t.Errorf("%d files are still open", n)
	}
}
