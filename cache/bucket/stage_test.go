package bucket

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/cachetest"
)

// onVersity returns a store in the bucket of a server that checks signatures and conditions, with faults.
func onVersity(t *testing.T) (*Store, *blobtest.Faults) {
	t.Helper()
	addr := blobtest.Versity(t)
	credentialsOf(t, blobtest.AccessKey, blobtest.SecretKey)
	b, err := Dial(t.Context(), urlAt("http://"+addr), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	faults := blobtest.NewFaults(b)
	return New(faults, Config{}), faults
}

// mustStage makes room and puts data there, as another machine does.
func mustStage(t *testing.T, ctx context.Context, s *Store, data []byte) *Staged {
	t.Helper()
	g, err := s.Stage(ctx, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, g.URL, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = g.Header.Clone()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body.Close(); response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	return g
}

// mustTake takes what was put there, which has to be data.
func mustTake(t *testing.T, ctx context.Context, g *Staged, data []byte) {
	t.Helper()
	var got bytes.Buffer
	if _, err := g.Take(ctx, &got); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Fatalf("got %d bytes, %v; want %d", got.Len(), err, len(data))
	}
}

func TestStagedBytesAreCopiedInTheBucket(t *testing.T) {
	binary := artifacts + key(1) + "/"
	for name, c := range map[string]struct {
		cheat  func(t *testing.T, s *Store, g *Staged) // before the Put
		before func(blobtest.Call) error
		copied bool
	}{
		"as they are": {copied: true},
		"changed after they were read": {cheat: func(t *testing.T, s *Store, g *Staged) {
			if err := blob.PutBytes(t.Context(), s.bucket, g.name, []byte("evil"), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}},
		"gone": {cheat: func(t *testing.T, s *Store, g *Staged) {
			if err := s.bucket.Delete(t.Context(), g.name); err != nil {
				t.Fatal(err)
			}
		}},
		"changed where conditions are not looked at": {cheat: func(t *testing.T, s *Store, g *Staged) {
			if err := blob.PutBytes(t.Context(), s.bucket, g.name, cachetest.Bytes(2, 10_000), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			info, err := s.bucket.Stat(t.Context(), g.name)
			if err != nil {
				t.Fatal(err)
			}
			g.etag = info.ETag
		}},
		"in a bucket that does not copy": {before: func(c blobtest.Call) error {
			if c.Method == "copy" {
				return errors.ErrUnsupported
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, faults := onVersity(t)
			ctx, end := context.WithCancel(t.Context())
			data := cachetest.Bytes(1, 10_000)
			g := mustStage(t, ctx, s, data)
			mustTake(t, ctx, g, data)
			if c.cheat != nil {
				c.cheat(t, s, g)
			}
			faults.Before(c.before)
			faults.Calls()
			mustPut(t, s, 1, 10_000)
			puts, opens := 0, 0
			for _, call := range faults.Calls() {
				if call.Name == binary+digestOf(t, s) {
					puts += map[string]int{"put": 1}[call.Method]
					opens += map[string]int{"open": 1}[call.Method]
				}
			}
			if c.copied && puts+opens > 0 || !c.copied && puts != 1 {
				t.Errorf("it was uploaded %d times and read back %d times", puts, opens)
			}
			faults.Before(nil)
			wantBytes(t, s, 1, 10_000)
			end()
			for len(names(t, s, staging)) > 0 {
				time.Sleep(10 * time.Millisecond)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.staged) > 0 {
				t.Error("it is still known")
			}
		})
	}
}

// digestOf returns the digest of the only binary in a store.
func digestOf(t *testing.T, s *Store) string {
	t.Helper()
	artifact, err := s.Record(t.Context(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	return artifact.Digest
}

func TestWhatIsNotStagedIsSaid(t *testing.T) {
	s, _ := onVersity(t)
	g, err := s.Stage(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := g.Take(t.Context(), new(bytes.Buffer)); !errors.Is(err, ErrNotStaged) {
		t.Errorf("nothing: got %q, %v", digest, err)
	}
	for _, size := range []int{0, 999, 1001} { // by another way than the signed request
		if err := blob.PutBytes(t.Context(), s.bucket, g.name, make([]byte, size), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if digest, err := g.Take(t.Context(), new(bytes.Buffer)); !errors.Is(err, ErrNotStaged) {
			t.Errorf("%d bytes of 1000: got %q, %v", size, digest, err)
		}
	}
}

func TestABucketWithoutSignedRequestsHasNoRoom(t *testing.T) {
	s := mustOpen(t, Config{URL: "mem://"})
	if g, err := s.Stage(t.Context(), 1000); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v, %v", g, err)
	}
}
