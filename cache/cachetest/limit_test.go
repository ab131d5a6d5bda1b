package cachetest

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/cache"
)

// openLimited opens an empty store with a limit in bytes and a clock.
type openLimited func(t *testing.T, limit int64, clock func() time.Time) cache.Limited

// unit is the size of a binary in these tests; a record is far smaller, but for those
// of bigRecord.
const unit = 40_000

// Each store that has a limit keeps the contract of [cache.Limited], beyond that of [cache.Store].
func TestStoresKeepTheirLimits(t *testing.T) {
	tests := map[string]func(*testing.T, openLimited){
		"the least recently used goes first and its record stays": leastRecentFirst,
		"an evicted binary can be put again":                      putEvicted,
		"other bytes for an evicted record are refused":           putOtherBytes,
		"an open entry goes last and can be read until its end":   openReadable,
		"a pinned one stays":                                      pinnedStays,
		"what is larger than the limit is refused":                tooLarge,
		"the limit holds with many puts at once":                  limitHolds,
		"old records are forgotten with their paths":              recordsForgotten,
		"without a limit nothing goes":                            noLimit,
	}
	for kind, open := range map[string]opener{"memory": inMemory, "a directory": inDir} {
		t.Run(kind, func(t *testing.T) {
			for name, test := range tests {
				t.Run(name, func(t *testing.T) {
					test(t, func(t *testing.T, limit int64, clock func() time.Time) cache.Limited {
						return open(t, limit, clock).(cache.Limited)
					})
				})
			}
		})
	}
}

// ticker returns a clock that goes on by a second each time.
func ticker() func() time.Time {
	var mu sync.Mutex
	now := time.Now() // as files have times of their own
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func fillUp(t *testing.T, s cache.Limited, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		put(t, s, Recipe(n), Bytes(uint64(n), unit))
	}
}

func wantEvicted(t *testing.T, s cache.Store, n int) {
	t.Helper()
	if _, err := s.Open(t.Context(), Recipe(n).Key()); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("Open of artifact %d: got error %v, want ErrEvicted", n, err)
	}
	if _, err := s.Whole(t.Context(), Recipe(n).Key()); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("Whole of artifact %d: got error %v, want ErrEvicted", n, err)
	}
}

func leastRecentFirst(t *testing.T, open openLimited) {
	s := open(t, 7*unit/2, ticker())
	fillUp(t, s, 0, 3)
	first, err := s.Record(t.Context(), Recipe(1).Key())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bind(t.Context(), Recipe(1).Path(), Recipe(1).Key()); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, s, Recipe(0).Key(), Bytes(0, unit)) // used after 1
	fillUp(t, s, 3, 4)
	wantEvicted(t, s, 1)
	for _, n := range []int{0, 2, 3} {
		wantBytes(t, s, Recipe(n).Key(), Bytes(uint64(n), unit))
	}
	wantRecord(t, s, Recipe(1).Key(), first)
	wantBound(t, s, Recipe(1).Path(), Recipe(1).Key())
	stats := s.Stats()
	if stats.Artifacts != 3 || stats.Evicted != 1 || stats.Evictions != 1 || stats.Limit != 7*unit/2 ||
		stats.Bytes <= 3*unit || stats.Bytes > stats.Limit {
		t.Errorf("unexpected stats %+v", stats)
	}
}

func putEvicted(t *testing.T, open openLimited) {
	s := open(t, 5*unit/2, ticker())
	first := put(t, s, Recipe(0), Bytes(0, unit))
	fillUp(t, s, 1, 3)
	wantEvicted(t, s, 0)
	again := put(t, s, Recipe(0), Bytes(0, unit))
	if diff := cmp.Diff(first, again); diff != "" {
		t.Errorf("the record changed (-first +again):\n%s", diff)
	}
	wantBytes(t, s, Recipe(0).Key(), Bytes(0, unit))
	wantRecord(t, s, Recipe(0).Key(), first)
	wantEvicted(t, s, 1)
	if stats := s.Stats(); stats.Artifacts != 2 || stats.Evicted != 1 || stats.Bytes > stats.Limit {
		t.Errorf("unexpected stats %+v", stats)
	}
}

func putOtherBytes(t *testing.T, open openLimited) {
	s := open(t, 5*unit/2, ticker())
	first := put(t, s, Recipe(0), Bytes(0, unit))
	fillUp(t, s, 1, 3)
	before := s.Stats()
	_, err := s.Put(t.Context(), Recipe(0), Fill(Bytes(99, unit)))
	wantKind(t, "Put of other bytes", err, k6x.Internal)
	wantEvicted(t, s, 0)
	wantRecord(t, s, Recipe(0).Key(), first)
	if diff := cmp.Diff(before, s.Stats()); diff != "" {
		t.Errorf("something changed (-before +after):\n%s", diff)
	}
	put(t, s, Recipe(0), Bytes(0, unit))
	wantBytes(t, s, Recipe(0).Key(), Bytes(0, unit))
}

// openReadable: else clients that read nothing would keep out all that is new.
func openReadable(t *testing.T, open openLimited) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: a file that is open cannot be removed there")
	}
	s := open(t, 5*unit/2, ticker())
	fillUp(t, s, 0, 2)
	entry, err := s.Open(t.Context(), Recipe(0).Key())
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, s, Recipe(1).Key(), Bytes(1, unit)) // so that 0 is the least recently used
	fillUp(t, s, 2, 4)
	wantEvicted(t, s, 1)
	wantEvicted(t, s, 2)

	second, err := s.Open(t.Context(), Recipe(3).Key())
	if err != nil {
		t.Fatal(err)
	}
	fillUp(t, s, 4, 5) // though all is in use
	third, err := s.Open(t.Context(), Recipe(4).Key())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	fillUp(t, s, 5, 6)
	for _, n := range []int{0, 3} {
		wantEvicted(t, s, n)
	}
	if stats := s.Stats(); stats.Unlinked != 2*unit || stats.Artifacts != 2 || stats.Bytes > stats.Limit {
		t.Errorf("unexpected stats %+v", stats)
	}
	third.Close()
	put(t, s, Recipe(0), Bytes(0, unit)) // beside the one that is open
	for n, entry := range map[int]*cache.Entry{0: entry, 3: second} {
		if got, err := io.ReadAll(entry.Body); err != nil || !bytes.Equal(got, Bytes(uint64(n), unit)) {
			t.Errorf("open entry %d: %d bytes, %v", n, len(got), err)
		}
		entry.Close()
	}
	wantBytes(t, s, Recipe(0).Key(), Bytes(0, unit))
	if stats := s.Stats(); stats.Unlinked != 0 {
		t.Errorf("unexpected stats %+v", stats)
	}
}

func pinnedStays(t *testing.T, open openLimited) {
	s := open(t, 5*unit/2, ticker())
	unpin, again := s.Pin(Recipe(0).Key()), s.Pin(Recipe(0).Key()) // before it is there
	fillUp(t, s, 0, 4)
	wantBytes(t, s, Recipe(0).Key(), Bytes(0, unit))
	wantEvicted(t, s, 2)
	unpin()
	unpin()
	fillUp(t, s, 4, 6)
	wantBytes(t, s, Recipe(0).Key(), Bytes(0, unit)) // pinned once still
	again()
	fillUp(t, s, 6, 8)
	wantEvicted(t, s, 0)
}

func tooLarge(t *testing.T, open openLimited) {
	s := open(t, 5*unit/2, ticker())
	fillUp(t, s, 0, 2)
	before := s.Stats()
	for _, size := range []int{5 * unit / 2, 3 * unit} { // one does not fit beside its record, one not at all
		_, err := s.Put(t.Context(), Recipe(2), Fill(Bytes(2, size)))
		wantKind(t, "Put", err, k6x.NoSpace)
		if e := k6x.AsError(err); e.Hint == "" {
			t.Errorf("no hint in %q", e.Message)
		}
	}
	if diff := cmp.Diff(before, s.Stats()); diff != "" {
		t.Errorf("something changed (-before +after):\n%s", diff)
	}
	wantNothing(t, s, Recipe(2))
}

func limitHolds(t *testing.T, open openLimited) {
	const limit = 7 * unit / 2
	s := open(t, limit, ticker())
	var done sync.WaitGroup
	for worker := range 4 {
		done.Go(func() {
			for i := range 10 {
				n := (worker*7 + i) % 20
				if _, err := s.Put(t.Context(), Recipe(n), Fill(Bytes(uint64(n), unit))); err != nil &&
					k6x.KindOf(err) != k6x.NoSpace { // the others may have all open that would have to go
					t.Errorf("Put: %v", err)
				}
				if entry, err := s.Open(t.Context(), Recipe(n).Key()); err == nil {
					got, err := io.ReadAll(entry.Body)
					if err != nil || !bytes.Equal(got, Bytes(uint64(n), unit)) {
						t.Errorf("artifact %d: %d bytes, %v", n, len(got), err)
					}
					entry.Close()
				}
				if stats := s.Stats(); stats.Bytes > limit {
					t.Errorf("over the limit: %+v", stats)
				}
			}
		})
	}
	done.Wait()
	if stats := s.Stats(); stats.Artifacts == 0 || stats.Evictions == 0 {
		t.Errorf("nothing kept or nothing evicted: %+v", stats)
	}
}

// bigRecord is a fill whose record takes about half a unit.
func bigRecord(n int) func(io.Writer) (k6x.Build, error) {
	return func(w io.Writer) (k6x.Build, error) {
		b := build()
		b.Lock.GoSum = string(bytes.Repeat([]byte("x"), unit/2))
		_, err := w.Write(Bytes(uint64(n), unit))
		return b, err
	}
}

func recordsForgotten(t *testing.T, open openLimited) {
	const limit = 10 * unit // an eighth of it has room for two big records
	s := open(t, limit, ticker())
	other := func(n int) string { return Recipe(n).Path() + ",other@v1.0.0" }
	const last = 12
	for n := range last {
		if _, err := s.Put(t.Context(), Recipe(n), bigRecord(n)); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{Recipe(n).Path(), other(n)} {
			if _, err := s.Bind(t.Context(), path, Recipe(n).Key()); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := s.Record(t.Context(), Recipe(0).Key())
	wantError(t, "Record of the oldest", err, cache.ErrNotFound)
	_, err = s.Open(t.Context(), Recipe(0).Key())
	wantError(t, "Open of the oldest", err, cache.ErrNotFound)
	for _, path := range []string{Recipe(0).Path(), other(0)} {
		_, err = s.Lookup(t.Context(), path)
		wantError(t, "Lookup of the oldest", err, cache.ErrNotFound)
		bound, err := s.Bind(t.Context(), path, Recipe(last-1).Key())
		if err != nil || bound != Recipe(last-1).Key() {
			t.Errorf("Bind anew: got %s, %v", bound, err)
		}
		wantBound(t, s, path, Recipe(last-1).Key())
	}
	stats := s.Stats()
	if stats.Evicted == 0 || stats.Evicted > 2 || stats.Forgotten == 0 || stats.Bytes > limit {
		t.Errorf("unexpected stats %+v", stats)
	}
	if got := int(stats.Forgotten) + stats.Evicted + stats.Artifacts; got != last {
		t.Errorf("%d artifacts accounted for, want %d: %+v", got, last, stats)
	}
	wantNothing(t, s, Recipe(0))
}

func noLimit(t *testing.T, open openLimited) {
	s := open(t, 0, ticker())
	fillUp(t, s, 0, 20)
	if stats := s.Stats(); stats.Artifacts != 20 || stats.Evicted != 0 || stats.Limit != 0 {
		t.Errorf("unexpected stats %+v", stats)
	}
}
