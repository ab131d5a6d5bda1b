package service

import (
	"testing"
	"testing/synctest"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/bucket"
	"k6x/cache/cachetest"
)

// A request beyond the limit waits for another to end, and then for no longer than a client does; so few wait that others have connections.
func TestDownloadsBeyondTheLimitWaitOrComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := bucket.Memory(bucket.Config{})
		if _, err := store.Put(t.Context(), cachetest.Recipe(1), cachetest.Fill([]byte("binary"))); err != nil {
			t.Fatal(err)
		}
		key := cachetest.Recipe(1).Key()
		s := &Service{cfg: Config{Store: store}, sending: make(chan struct{}, 1), waiting: make(chan struct{}, 1)}
		if _, err := s.open(t.Context(), cachetest.Recipe(2).Key()); err != cache.ErrNotFound {
			t.Fatalf("got %v", err)
		}
		first, err := s.open(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := s.open(t.Context(), key); k6x.KindOf(err) != k6x.Busy || k6x.AsError(err).RetryAfter == 0 || time.Since(start) != openWait {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
		time.AfterFunc(time.Second, func() { first.Close() })
		time.AfterFunc(time.Second/2, func() { // while another one waits
			start := time.Now()
			if _, err := s.open(t.Context(), key); k6x.KindOf(err) != k6x.Busy || time.Since(start) != 0 {
				t.Errorf("got %v after %s", err, time.Since(start))
			}
		})
		second, err := s.open(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		second.Close()
		if len(s.sending) != 0 || len(s.waiting) != 0 {
			t.Error("a place is lost")
		}
	})
}
