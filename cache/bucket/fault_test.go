package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
	"k6x/cache/cachetest"
)

// large is more than two parts of an upload.
const large = 2*blob.PartSize + 12345

func wantBytes(t *testing.T, s *Store, n, size int) {
	t.Helper()
	entry, err := s.Open(t.Context(), key(n))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer entry.Close()
	got, err := io.ReadAll(entry.Body)
	if err != nil || !bytes.Equal(got, cachetest.Bytes(uint64(n), size)) {
		t.Errorf("%d bytes, %v, want %d", len(got), err, size)
	}
}

func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	if k6x.KindOf(err) != k6x.Unavailable || !strings.Contains(err.Error(), "bucket") || k6x.AsError(err).Hint == "" {
		t.Errorf("%s: got %v of kind %v, want Unavailable with words", what, err, k6x.KindOf(err))
	}
}

func isUpload(r *http.Request) bool { return isBinary(r) && r.Method == http.MethodPut }

func TestUploadThatBreaksOnceSucceeds(t *testing.T) {
	for name, size := range map[string]int{"in one piece": 100_000, "in parts": large} {
		t.Run(name, func(t *testing.T) {
			s, p, direct := faulty(t, Config{})
			cut := false
			p.trouble(func(_ int, r *http.Request) trouble {
				if isUpload(r) && !cut {
					cut = true
					return cutUpload
				}
				return nil
			})
			mustPut(t, s, 1, size)
			if !cut {
				t.Error("nothing was cut")
			}
			wantBytes(t, direct, 1, size)
		})
	}
}

func TestUploadThatAlwaysBreaksLeavesNothing(t *testing.T) {
	for name, size := range map[string]int{"in one piece": 100_000, "in parts": large} {
		t.Run(name, func(t *testing.T) {
			s, p, direct := faulty(t, Config{})
			p.trouble(func(_ int, r *http.Request) trouble {
				if isUpload(r) {
					return cutUpload
				}
				return nil
			})
			_, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, size)))
			wantUnavailable(t, "Put", err)
			wantNoLeftovers(t, direct)
			p.trouble(nil)
			mustPut(t, s, 1, size)
			wantBytes(t, s, 1, size)
		})
	}
}

func TestUploadThatBreaksSparesTheSameBytesOfAnother(t *testing.T) {
	s, p, direct := faulty(t, Config{})
	var other sync.Once
	p.trouble(func(_ int, r *http.Request) trouble {
		if !isUpload(r) {
			return nil
		}
		other.Do(func() { mustPut(t, direct, 1, 1000) }) // another service is faster
		return cutUpload
	})
	_, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, 1000)))
	wantUnavailable(t, "Put", err)
	wantBytes(t, direct, 1, 1000)
}

func TestCanceledUploadLeavesNothing(t *testing.T) {
	s, p, direct := faulty(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	p.trouble(func(_ int, r *http.Request) trouble {
		if isUpload(r) {
			return func(p *proxy, w http.ResponseWriter, r *http.Request) {
				cancel()
				hang(p, w, r)
			}
		}
		return nil
	})
	_, err := s.Put(ctx, cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, large)))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that of the context", err)
	}
	wantNoLeftovers(t, direct)
}

func TestUploadThatStallsEnds(t *testing.T) {
	s, p, direct := faulty(t, Config{Stall: 2 * time.Second})
	p.trouble(func(_ int, r *http.Request) trouble {
		if isUpload(r) {
			return hang
		}
		return nil
	})
	_, err := s.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill(cachetest.Bytes(1, large)))
	wantUnavailable(t, "Put", err)
	wantNoLeftovers(t, direct)
}

func TestLostAnswerToTheRecordIsNoFailure(t *testing.T) {
	s, p, direct := faulty(t, Config{})
	lost := 0
	p.trouble(func(_ int, r *http.Request) trouble {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, recordTag) && lost == 0 {
			lost++
			return cutAnswer
		}
		return nil
	})
	mustPut(t, s, 1, 1000)
	if lost == 0 {
		t.Error("no answer was lost")
	}
	wantBytes(t, direct, 1, 1000)
}

func TestServerThatIsBusyForAMomentIsAskedAgain(t *testing.T) {
	s, p, direct := faulty(t, Config{})
	mustPut(t, direct, 1, 1000)
	p.trouble(func(n int, _ *http.Request) trouble {
		if n%2 == 1 {
			return unavailable
		}
		return nil
	})
	wantBytes(t, s, 1, 1000)
	mustPut(t, s, 2, 1000)
	if _, err := s.Bind(t.Context(), cachetest.Recipe(2).Path(), key(2)); err != nil {
		t.Errorf("Bind: %v", err)
	}
}

func TestTroubleGivesWordsAndFewRequests(t *testing.T) {
	troubles := map[string]struct {
		do   trouble
		kind k6x.Kind
	}{
		"a server that is down":      {unavailable, k6x.Unavailable},
		"a server that says nothing": {hang, k6x.Unavailable},
		"a connection that breaks":   {cutUpload, k6x.Unavailable},
		"a server that refuses":      {forbidden, k6x.Unavailable},
		"a server that is full":      {full, k6x.NoSpace},
	}
	for name, c := range troubles {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			s, p, direct := faulty(t, Config{Patience: 600 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			mustPut(t, direct, 1, 1000)
			p.trouble(func(int, *http.Request) trouble { return c.do })
			_, open := s.Open(t.Context(), key(1))
			_, lookup := s.Lookup(t.Context(), cachetest.Recipe(1).Path())
			_, bind := s.Bind(t.Context(), cachetest.Recipe(1).Path(), key(1))
			_, put := s.Put(t.Context(), cachetest.Recipe(2), cachetest.Fill([]byte("binary")))
			for _, err := range []error{open, lookup, bind, put} {
				// The answer to a HEAD has no body, so that the reason is not always known.
				if err == nil || k6x.KindOf(err) != c.kind && k6x.KindOf(err) != k6x.Unavailable {
					t.Fatalf("got %v of kind %v, want %v", err, k6x.KindOf(err), c.kind)
				}
				e := k6x.AsError(err)
				for _, secret := range []string{"a-secret-key", "abcdef"} {
					if all := e.Message + e.Hint + e.Err.Error() + log.String(); strings.Contains(all, secret) {
						t.Errorf("%s is told in %s", secret, all)
					}
				}
			}
			if k6x.KindOf(lookup) != c.kind {
				t.Errorf("Lookup: %v of kind %v, want %v", lookup, k6x.KindOf(lookup), c.kind)
			}
			// Three tries each, and the HTTP client repeats one on a connection that it had before.
			if n := len(p.seen("")); n > 4*2*3 {
				t.Errorf("%d requests for four calls", n)
			}
			p.trouble(nil)
			wantBytes(t, s, 1, 1000)
		})
	}
}

func TestDownloadGoesOnWhereItBroke(t *testing.T) {
	for name, do := range map[string]trouble{"cut": cutDownload, "stalled": stallDownload} {
		t.Run(name, func(t *testing.T) {
			s, p, direct := faulty(t, Config{Stall: 200 * time.Millisecond})
			mustPut(t, direct, 1, 1<<20)
			downloads := 0
			p.trouble(func(_ int, r *http.Request) trouble {
				if r.Method != http.MethodGet || !isBinary(r) {
					return nil
				}
				if downloads++; downloads <= 3 {
					return do
				}
				return nil
			})
			wantBytes(t, s, 1, 1<<20)
			if downloads != 4 {
				t.Errorf("%d downloads, want 4", downloads)
			}
		})
	}
}

func TestDownloadThatAlwaysBreaksEndsWithAnError(t *testing.T) {
	s, p, direct := faulty(t, Config{})
	mustPut(t, direct, 1, 1<<20)
	p.trouble(func(_ int, r *http.Request) trouble {
		if r.Method == http.MethodGet && isBinary(r) {
			return cutDownload
		}
		return nil
	})
	entry, err := s.Open(t.Context(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	n, err := io.Copy(io.Discard, entry.Body)
	if n >= 1<<20 {
		t.Errorf("%d bytes", n)
	}
	wantUnavailable(t, "read", err)
	if downloads := len(p.seen("GET /bucket/artifacts/")); downloads > maxResumes+2 {
		t.Errorf("%d requests", downloads)
	}
}

func TestBytesThatVanishWhileReadAreAnError(t *testing.T) {
	s, p, direct := faulty(t, Config{})
	artifact := mustPut(t, direct, 1, 1<<20)
	p.trouble(func(_ int, r *http.Request) trouble {
		if r.Method == http.MethodGet && isBinary(r) {
			return cutDownload
		}
		return nil
	})
	entry, err := s.Open(t.Context(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	if _, err := io.ReadFull(entry.Body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if err := direct.remove(t.Context(), s.binary(key(1), artifact.Digest)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, entry.Body); err == nil {
		t.Error("no error")
	}
	if _, err := direct.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("Open: %v, want ErrEvicted", err)
	}
}
