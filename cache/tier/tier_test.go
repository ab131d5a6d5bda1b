package tier

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/cachetest"
	"k6x/cache/dir"
)

func newLocal(t *testing.T, size int64) *dir.Store {
	t.Helper()
	local, err := dir.Open(dir.Config{Dir: t.TempDir(), Size: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
	return local
}

// remoteStore is a bucket that counts what it is asked for, and may be told to do other things.
type remoteStore struct {
	*bucket.Store
	calls, opens atomic.Int32
	slow         time.Duration // that a Lookup takes

	body     func(io.ReadSeeker) io.ReadSeeker // of what is opened; may be nil
	onImport func(k6x.Artifact)                // before an import; may be nil
	broken   error                             // of imports; may be nil
}

func newRemote(t *testing.T) *remoteStore {
	t.Helper()
	store, err := bucket.Open(t.Context(), bucket.Config{URL: "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &remoteStore{Store: store}
}

func (f *remoteStore) Lookup(ctx context.Context, path string) (string, error) {
	f.calls.Add(1)
	select {
	case <-time.After(f.slow):
		return f.Store.Lookup(ctx, path)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (f *remoteStore) Record(ctx context.Context, key string) (k6x.Artifact, error) {
	f.calls.Add(1)
	return f.Store.Record(ctx, key)
}

func (f *remoteStore) Open(ctx context.Context, key string) (*cache.Entry, error) {
	f.calls.Add(1)
	entry, err := f.Store.Open(ctx, key)
	if err == nil {
		f.opens.Add(1)
		if f.body != nil {
			entry.Body = f.body(entry.Body)
		}
	}
	return entry, err
}

func (f *remoteStore) Import(ctx context.Context, artifact k6x.Artifact, bind bool, body io.ReaderAt) (k6x.Artifact, string, error) {
	if f.onImport != nil {
		f.onImport(artifact)
	}
	if f.broken != nil {
		return k6x.Artifact{}, "", f.broken
	}
	return f.Store.Import(ctx, artifact, bind, body)
}

func mustPut(t *testing.T, s cache.Store, n, size int) k6x.Artifact {
	t.Helper()
	artifact, err := s.Put(t.Context(), cachetest.Recipe(n), cachetest.Fill(cachetest.Bytes(uint64(n), size)))
	if err != nil {
		t.Fatal(err)
	}
	return artifact
}

func wantBytes(t *testing.T, s cache.Store, n, size int) {
	t.Helper()
	entry, err := s.Open(t.Context(), key(n))
	if err != nil {
		t.Errorf("Open: %v", err)
		return
	}
	defer entry.Close()
	got, err := io.ReadAll(entry.Body)
	if err != nil || !bytes.Equal(got, cachetest.Bytes(uint64(n), size)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func key(n int) string { return cachetest.Recipe(n).Key() }

func TestHitAsksNobodyFarAway(t *testing.T) {
	remote := newRemote(t)
	maker := New(newLocal(t, 0), remote, nil)
	artifact := mustPut(t, maker, 1, 1000)
	if _, err := maker.Bind(t.Context(), artifact.Path, key(1)); err != nil {
		t.Fatal(err)
	}
	// The one that made it, one that did not, and that one after a restart.
	local := newLocal(t, 0)
	other := New(local, remote, nil)
	if _, err := other.Lookup(t.Context(), artifact.Path); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, other, 1, 1000)
	for name, s := range map[string]*Store{"maker": maker, "other": other, "restarted": New(local, remote, nil)} {
		before := remote.calls.Load()
		bound, err := s.Lookup(t.Context(), artifact.Path)
		if err != nil || bound != key(1) {
			t.Errorf("%s: Lookup: %s, %v", name, bound, err)
		}
		got, err := s.Record(t.Context(), key(1))
		if diff := cmp.Diff(artifact, got); err != nil || diff != "" {
			t.Errorf("%s: %v, record (-want +got):\n%s", name, err, diff)
		}
		wantBytes(t, s, 1, 1000)
		if n := remote.calls.Load() - before; n != 0 {
			t.Errorf("%s: %d calls of the remote store", name, n)
		}
	}
}

// gated is a body that waits for gate before it is read.
type gated struct {
	io.ReadSeeker
	gate <-chan struct{}
}

func (g gated) Read(p []byte) (int, error) {
	<-g.gate
	return g.ReadSeeker.Read(p)
}

func TestManyWhoOpenAreOneDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newRemote(t)
		mustPut(t, remote, 1, 100_000)
		s := New(newLocal(t, 0), remote, nil)
		allWait := make(chan struct{})
		remote.body = func(body io.ReadSeeker) io.ReadSeeker { return gated{body, allWait} }
		var done sync.WaitGroup
		for range 20 {
			done.Go(func() { wantBytes(t, s, 1, 100_000) })
		}
		synctest.Wait()
		close(allWait)
		done.Wait()
		if n := remote.opens.Load(); n != 1 {
			t.Errorf("%d downloads, want 1", n)
		}
	})
}

// mustOpen opens the first artifact.
func mustOpen(t *testing.T, s *Store) *cache.Entry {
	t.Helper()
	entry, err := s.Open(t.Context(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

func TestLeavingEndsNoDownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newRemote(t)
		mustPut(t, remote, 1, 1000)
		s := New(newLocal(t, 0), remote, nil)
		gate := make(chan struct{})
		remote.body = func(body io.ReadSeeker) io.ReadSeeker { return gated{body, gate} }
		one, two := mustOpen(t, s), mustOpen(t, s)
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if err := one.Await(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the one that left got %v", err)
		}
		one.Close()
		time.Sleep(10 * linger)
		close(gate)
		got, err := io.ReadAll(two.Body)
		if err != nil || !bytes.Equal(got, cachetest.Bytes(1, 1000)) || remote.opens.Load() != 1 {
			t.Errorf("the one that stayed got %d bytes, %v, after %d downloads", len(got), err, remote.opens.Load())
		}
		two.Close()
		if _, err := s.Open(ctx, key(2)); !errors.Is(err, context.Canceled) {
			t.Errorf("the one that had left got %v", err)
		}
	})
}

func TestADownloadWaitsForThoseThatComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newRemote(t)
		mustPut(t, remote, 1, 1000)
		s := New(newLocal(t, 0), remote, nil)
		gate := make(chan struct{})
		remote.body = func(body io.ReadSeeker) io.ReadSeeker { return gated{body, gate} }
		round := func() {
			t.Helper()
			entry := mustOpen(t, s)
			defer entry.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := entry.Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waited for the first byte: %v", err)
			}
		}
		for range 3 {
			round()
			time.Sleep(linger / 2)
		}
		if n := remote.opens.Load(); n != 1 {
			t.Errorf("%d downloads, want 1", n)
		}
		time.Sleep(linger)
		synctest.Wait()
		if len(s.arrivals) > 0 {
			t.Error("nobody wants it, and it goes on")
		}
		remote.body = nil
		wantBytes(t, s, 1, 1000) // by another download, as the first one still hangs
		close(gate)
		synctest.Wait()
	})
}

func TestBytesAreReadAsTheyArriveAndTheLastOnceAllAreRight(t *testing.T) {
	for name, last := range map[string]byte{"right": 0, "wrong": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				remote, local := newRemote(t), newLocal(t, 0)
				mustPut(t, remote, 1, 1000)
				s := New(local, remote, nil)
				far, near := io.Pipe()
				remote.body = func(io.ReadSeeker) io.ReadSeeker { return pipe{far} }
				want := cachetest.Bytes(1, 1000)
				entry := mustOpen(t, s)
				read := make(chan []byte, 1000)
				ended := make(chan error, 1)
				go func() {
					for {
						buf := make([]byte, 1000)
						n, err := entry.Body.Read(buf)
						read <- buf[:n]
						if err != nil {
							ended <- err
							return
						}
					}
				}()
				var got []byte
				take := func() {
					synctest.Wait()
					for len(read) > 0 {
						got = append(got, <-read...)
					}
				}
				near.Write(want[:600])
				if take(); !bytes.Equal(got, want[:600]) {
					t.Errorf("%d bytes can be read once 600 have arrived", len(got))
				}
				near.Write(want[600:999])
				near.Write([]byte{want[999] ^ last})
				if take(); len(got) != 999 {
					t.Errorf("%d bytes can be read before they are verified", len(got))
				}
				near.Close()
				take()
				err := <-ended
				if last == 0 && (err != io.EOF || !bytes.Equal(got, want)) || last == 1 && (k6x.KindOf(err) != k6x.Unavailable || len(got) != 999) {
					t.Errorf("%d bytes, then %v", len(got), err)
				}
				entry.Close()
				if _, err := local.Record(t.Context(), key(1)); (err == nil) != (last == 0) {
					t.Errorf("the record near: %v", err)
				}
			})
		})
	}
}

// pipe is a body that is never sought in.
type pipe struct{ io.Reader }

func (pipe) Seek(int64, int) (int64, error) { panic("not to be called") }

func TestWhoReadsNothingDownloadsNothing(t *testing.T) {
	remote := newRemote(t)
	artifact := mustPut(t, remote, 1, 1000)
	s := New(newLocal(t, 0), remote, nil)
	remote.body = func(io.ReadSeeker) io.ReadSeeker { return gated{nil, nil} } // which waits for ever
	entry := mustOpen(t, s)
	size, err := entry.Body.Seek(0, io.SeekEnd)
	if err != nil || size != 1000 || entry.Digest != artifact.Digest || entry.Size != 1000 || !entry.Stored.Equal(artifact.Stored) {
		t.Errorf("%+v, %d, %v", entry, size, err)
	}
	entry.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.arrivals) > 0 {
		t.Error("it goes on")
	}
}

func TestWholeOpensNothingFarAway(t *testing.T) {
	remote := newRemote(t)
	artifact := mustPut(t, remote, 1, 1000)
	s := New(newLocal(t, 0), remote, nil)
	if got, err := s.Whole(t.Context(), key(1)); err != nil || got.Digest != artifact.Digest || remote.opens.Load() != 0 {
		t.Errorf("%+v, %v, %d opened", got, err, remote.opens.Load())
	}
}

func TestALookupGoesOnWithoutItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := newRemote(t)
		artifact := mustPut(t, remote, 1, 1000)
		s := New(newLocal(t, 0), remote, nil)
		remote.slow = 3500 * time.Millisecond
		for round := range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			bound, err := s.Lookup(ctx, artifact.Path)
			cancel()
			if round < 3 && !errors.Is(err, context.DeadlineExceeded) || round == 3 && bound != key(1) {
				t.Errorf("round %d: %q, %v", round, bound, err)
			}
		}
	})
}

func TestWrongBytesAreNeverServed(t *testing.T) {
	bodies := map[string]func(io.ReadSeeker) io.ReadSeeker{
		"others": func(io.ReadSeeker) io.ReadSeeker { return bytes.NewReader(cachetest.Bytes(9, 1000)) },
		"fewer":  func(io.ReadSeeker) io.ReadSeeker { return bytes.NewReader(cachetest.Bytes(1, 999)) },
		"more":   func(io.ReadSeeker) io.ReadSeeker { return bytes.NewReader(cachetest.Bytes(1, 2000)) },
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			remote := newRemote(t)
			mustPut(t, remote, 1, 1000)
			s := New(newLocal(t, 0), remote, nil)
			remote.body = body
			entry := mustOpen(t, s)
			if got, err := io.ReadAll(entry.Body); k6x.KindOf(err) != k6x.Unavailable || len(got) >= 1000 {
				t.Errorf("%d bytes, %v, want Unavailable before the last", len(got), err)
			}
			entry.Close()
			remote.body = nil
			wantBytes(t, s, 1, 1000)
		})
	}
}

func TestWhatIsFarIsTheTruth(t *testing.T) {
	remote := newRemote(t)
	s := New(newLocal(t, 0), remote, nil)
	var first k6x.Artifact
	remote.onImport = func(k6x.Artifact) { first = mustPut(t, remote, 1, 1000) } // another service was faster
	got, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill([]byte("other bytes")))
	if diff := cmp.Diff(first, got); err != nil || diff != "" {
		t.Errorf("%v, record (-want +got):\n%s", err, diff)
	}
	wantBytes(t, s, 1, 1000)
}

func TestFailureFarAwayLeavesNothingNear(t *testing.T) {
	remote, local := newRemote(t), newLocal(t, 0)
	ctx, cancel := context.WithCancel(t.Context())
	remote.onImport = func(k6x.Artifact) { cancel() }
	_, err := New(local, remote, nil).Put(ctx, cachetest.Recipe(1), cachetest.Fill([]byte("binary")))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := local.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("local: %v, want ErrNotFound", err)
	}
}

func TestWhatMadeRoomNearIsDownloadedAgain(t *testing.T) {
	s := New(newLocal(t, 100_000), newRemote(t), nil)
	for n := range 4 {
		mustPut(t, s, n, 40_000)
	}
	for n := range 4 {
		wantBytes(t, s, n, 40_000)
	}
	if stats := s.Stats(); stats.Evictions == 0 || stats.Bytes > 100_000 {
		t.Errorf("unexpected stats %+v", stats)
	}
}

func TestSignedURLIsThatOfTheFarStore(t *testing.T) {
	s := New(newLocal(t, 0), newRemote(t), nil)
	mustPut(t, s, 1, 1000)
	if _, err := s.SignedURL(t.Context(), key(1)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, want ErrUnsupported, as this one is in memory", err)
	}
}

func TestWhatCannotBeUploadedIsKeptAndTriedAgain(t *testing.T) {
	for name, otherFirst := range map[string]bool{"nobody else builds it": false, "another service builds other bytes": true} {
		t.Run(name, func(t *testing.T) {
			remote, where := newRemote(t), t.TempDir()
			near := func() *dir.Store {
				local, err := dir.Open(dir.Config{Dir: where})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { local.Close() })
				return local
			}
			remote.broken = k6x.Errorf(k6x.Unavailable, "the store's bucket does not answer")
			s := New(near(), remote, nil)
			path := mustPut(t, s, 1, 1000).Path
			for range 2 { // the second time after a restart
				if bound, err := s.Lookup(t.Context(), path); err != nil || bound != key(1) {
					t.Errorf("Lookup: %q, %v", bound, err)
				}
				if bound, err := s.Bind(t.Context(), path, key(1)); err != nil || bound != key(1) {
					t.Errorf("Bind: %q, %v", bound, err)
				}
				wantBytes(t, s, 1, 1000)
				if entry := mustOpen(t, s); !entry.Provisional {
					t.Error("it looks as if all had it")
				} else {
					entry.Close()
				}
				if err := s.Upload(t.Context()); k6x.KindOf(err) != k6x.Unavailable {
					t.Errorf("Upload: %v", err)
				}
				s = New(near(), remote, nil)
			}
			want := cachetest.Bytes(1, 1000)
			if remote.broken = nil; otherFirst {
				want = []byte("other bytes")
				if _, err := remote.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(want)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Upload(t.Context()); err != nil {
				t.Fatal(err)
			}
			for name, store := range map[string]cache.Store{"remote": remote, "both": s, "restarted": New(near(), remote, nil)} {
				entry, err := store.Open(t.Context(), key(1))
				if err != nil {
					t.Fatal(name, err)
				}
				if got, err := io.ReadAll(entry.Body); err != nil || !bytes.Equal(got, want) || entry.Provisional {
					t.Errorf("%s: %d bytes, %v, provisional %t", name, len(got), err, entry.Provisional)
				}
				entry.Close()
				if bound, err := store.Lookup(t.Context(), path); err != nil || bound != key(1) {
					t.Errorf("%s: Lookup: %q, %v", name, bound, err)
				}
			}
			if left, err := near().Pending(t.Context()); err != nil || len(left) > 0 {
				t.Errorf("left to be uploaded: %v, %v", left, err)
			}
		})
	}
}

func TestWhatWaitsForItsUploadIsBounded(t *testing.T) {
	remote := newRemote(t)
	remote.broken = k6x.Errorf(k6x.Unavailable, "the store's bucket does not answer")
	s := New(newLocal(t, 100_000), remote, nil)
	mustPut(t, s, 1, 30_000)
	if _, err := s.Put(t.Context(), cachetest.Recipe(2), cachetest.Fill(cachetest.Bytes(2, 30_000))); k6x.KindOf(err) != k6x.Unavailable {
		t.Errorf("more than half of what may be kept here waits: %v", err)
	}
	wantBytes(t, s, 1, 30_000)
}
