package dir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k6x/cache"
	"k6x/cache/cachetest"
)

// hands is a clock that is set by hand.
type hands struct{ now time.Time }

func (h *hands) clock() time.Time     { return h.now }
func (h *hands) wait(d time.Duration) { h.now = h.now.Add(d) }
func newHands() *hands                { return &hands{time.Now()} } // as files have times of their own
func (h *hands) put(t *testing.T, s *Store, n, size int) {
	h.wait(time.Hour)
	mustPut(t, s, n, size)
}

func TestReopenedStoreHasWhatWasStored(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	first := mustPut(t, s, 1, 5000)
	mustPut(t, s, 2, 6000)
	if _, err := s.Bind(t.Context(), "/linux/amd64/k6@v1.8.1", key(1)); err != nil {
		t.Fatal(err)
	}
	before := s.Stats()

	again := mustOpen(t, Config{Dir: dir})
	if diff := cmp.Diff(before, again.Stats()); diff != "" {
		t.Errorf("stats differ (-before +after):\n%s", diff)
	}
	wantBytes(t, again, 1, 5000)
	wantBytes(t, again, 2, 6000)
	if bound, err := again.Lookup(t.Context(), "/linux/amd64/k6@v1.8.1"); err != nil || bound != key(1) {
		t.Errorf("Lookup: %s, %v", bound, err)
	}
	if got, err := again.Record(t.Context(), key(1)); err != nil || !cmp.Equal(got, first) {
		t.Errorf("Record: %s, %v", cmp.Diff(first, got), err)
	}
	entry, err := again.Open(t.Context(), key(1))
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	if _, ok := entry.Body.(*os.File); !ok {
		t.Errorf("the body is a %T, which cannot be sent with sendfile", entry.Body)
	}
}

func TestOrderOfUseOutlivesARestart(t *testing.T) {
	dir, h := t.TempDir(), newHands()
	cfg := Config{Dir: dir, Size: 35_000, Clock: h.clock}
	s := mustOpen(t, cfg)
	for n := range 3 {
		h.put(t, s, n, 10_000)
	}
	h.wait(time.Hour)
	wantBytes(t, s, 0, 10_000)

	s = mustOpen(t, cfg)
	h.put(t, s, 3, 10_000)
	wantBytes(t, s, 0, 10_000)
	if _, err := s.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("the least recently used one: %v, want ErrEvicted", err)
	}
}

func TestUseIsWrittenOnceAMinute(t *testing.T) {
	h, touches := newHands(), 0
	s := openWith(t, Config{Dir: t.TempDir(), Clock: h.clock}, func(step, _ string) error {
		if step == "touch" {
			touches++
		}
		return nil
	})
	stored := mustPut(t, s, 1, 5000).Stored
	touches = 0
	for range 10 {
		h.wait(20 * time.Second)
		wantBytes(t, s, 1, 5000)
	}
	if touches != 3 { // at 60, 120 and 180 seconds
		t.Errorf("written %d times in 200 seconds, want 3", touches)
	}
	if entry, err := s.Open(t.Context(), key(1)); err != nil || !entry.Stored.Equal(stored) {
		t.Errorf("a use changed the time of the bytes: %v, %v", entry, err)
	} else {
		entry.Close()
	}
}

func TestOpenSweepsWhatAnotherLeftAndSparesTheLiving(t *testing.T) {
	dir := t.TempDir()
	living := mustOpen(t, Config{Dir: dir})
	leftovers := []string{
		filepath.Join(dir, "tmp", "12345", "1", "binary"),
		filepath.Join(dir, "tmp", "67890", "lock"),
		filepath.Join(dir, "tmp", "file"),
		filepath.Join(dir, "artifacts", key(1)[:2], key(1), "binary"), // without a record
	}
	for _, name := range leftovers {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	logger, logged := logTo()
	s := mustOpen(t, Config{Dir: dir, Logger: logger})
	for _, name := range leftovers[:3] {
		if exists(t, name) {
			t.Errorf("%s was not swept", name)
		}
	}
	if exists(t, filepath.Dir(leftovers[3])) {
		t.Errorf("an artifact without a record was not removed; log:\n%s", logged)
	}
	mustPut(t, living, 1, 1000)
	wantBytes(t, s, 1, 1000)
}

func TestTwoOpenersOfOneDirectorySeeEachOther(t *testing.T) {
	dir, h := t.TempDir(), newHands()
	cfg := Config{Dir: dir, Size: 35_000, Clock: h.clock}
	a, b := mustOpen(t, cfg), mustOpen(t, cfg)
	path := cachetest.Recipe(0).Path()

	h.put(t, a, 0, 10_000)
	wantBytes(t, b, 0, 10_000)
	if _, err := a.Bind(t.Context(), path, key(0)); err != nil {
		t.Fatal(err)
	}
	if bound, err := b.Lookup(t.Context(), path); err != nil || bound != key(0) {
		t.Errorf("Lookup in the other: %s, %v", bound, err)
	}
	h.put(t, b, 1, 10_000)
	if bound, err := b.Bind(t.Context(), path, key(1)); err != nil || bound != key(0) {
		t.Errorf("Bind in the other: %s, %v, want what was bound first", bound, err)
	}

	// b evicts 2, as 0 was used since, though in a; then a sees that it is gone.
	h.put(t, b, 2, 10_000)
	h.wait(time.Hour)
	wantBytes(t, a, 0, 10_000)
	wantBytes(t, a, 2, 10_000)
	h.put(t, b, 3, 10_000)
	for _, s := range []*Store{a, b} {
		if _, err := s.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("Open of what was evicted: %v", err)
		}
		wantBytes(t, s, 0, 10_000)
		wantBytes(t, s, 2, 10_000)
		wantBytes(t, s, 3, 10_000)
	}
	// a counts what b stored.
	h.put(t, a, 1, 10_000)
	wantBytes(t, b, 1, 10_000)
	total := int64(0)
	for _, name := range filesBelow(t, filepath.Join(dir, "artifacts")) {
		if info, err := os.Lstat(name); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	if stats := a.Stats(); total > cfg.Size || stats.Bytes != total {
		t.Errorf("%d bytes on disk, limit %d; %+v", total, cfg.Size, stats)
	}
}
