package dir

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"k6x/cache"
	"k6x/cache/cachetest"
	"k6x/internal/disk"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBinaryOfTheWrongSizeCountsAsEvicted(t *testing.T) {
	for what, size := range map[string]int64{"cut": 1000, "empty": 0, "grown": 20_000} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			logger, logged := logTo()
			for name, s := range map[string]*Store{
				"known": mustOpen(t, Config{Dir: dir, Logger: logger}), "reopened": nil,
			} {
				if s == nil {
					s = mustOpen(t, Config{Dir: dir, Logger: logger})
				}
				mustPut(t, s, 1, 10_000)
				if err := os.Truncate(s.binary(key(1)), size); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
					t.Errorf("%s: Open: %v, want ErrEvicted", name, err)
				}
				if stats := s.Stats(); stats.Artifacts != 0 || stats.Evicted != 1 {
					t.Errorf("%s: %+v", name, stats)
				}
			}
			if !strings.Contains(logged.String(), "level=ERROR") {
				t.Errorf("no error was logged:\n%s", logged)
			}
			s := mustOpen(t, Config{Dir: dir})
			mustPut(t, s, 1, 10_000)
			wantBytes(t, s, 1, 10_000)
		})
	}
}

// flip changes a byte in the middle of a file, and leaves its times as they were, as far as a program can.
func flip(t *testing.T, name string) {
	t.Helper()
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	_, was := disk.State(before)
	for now := was; now == was; { // until the clock of the file system has gone on
		write(t, name, string(data))
		if err := os.Chtimes(name, before.ModTime(), before.ModTime()); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		_, now = disk.State(after)
	}
}

func TestABinaryIsVerifiedOnceAndAfterEachChange(t *testing.T) {
	h := newHands()
	cfg := Config{Dir: t.TempDir(), Clock: h.clock}
	made := mustOpen(t, cfg)
	mustPut(t, made, 1, 10_000)
	verify := func(s *Store) (asked bool, err error) {
		t.Helper()
		entry, err := s.Open(t.Context(), key(1))
		if err != nil {
			return false, err
		}
		defer entry.Close()
		if entry.Verify == nil {
			return false, nil
		}
		return true, entry.Verify(t.Context())
	}
	if asked, err := verify(made); asked || err != nil {
		t.Errorf("what was read back when it was stored is read again: %v", err)
	}
	s := mustOpen(t, cfg)
	for n := range 4 {
		if asked, err := verify(s); asked != (n == 0) || err != nil {
			t.Errorf("use %d: verified %t, %v", n, asked, err)
		}
		h.wait(time.Hour) // so that each use is noted
	}
	for name, s := range map[string]*Store{"of this process": s, "of another one": mustOpen(t, cfg)} {
		if name != "of another one" && runtime.GOOS == "windows" {
			continue // where the time of a change is not known
		}
		flip(t, s.binary(key(1)))
		if asked, err := verify(s); !asked || !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("a change %s: verified %t, %v", name, asked, err)
		}
		if _, err := s.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("damaged: %v, want ErrEvicted", err)
		}
		mustPut(t, s, 1, 10_000)
		flip(t, s.binary(key(1)))
		if err := s.Verify(t.Context(), key(1)); !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("Verify of damaged bytes: %v, want ErrEvicted", err)
		}
		mustPut(t, s, 1, 10_000)
		wantBytes(t, s, 1, 10_000)
	}
}

func TestScrubRemovesWhatIsDamagedAndNothingElse(t *testing.T) {
	logger, logged := logTo()
	s := mustOpen(t, Config{Dir: t.TempDir(), Logger: logger})
	for n := range 4 {
		mustPut(t, s, n, 10_000)
		if _, err := s.Bind(t.Context(), cachetest.Recipe(n).Path(), key(n)); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.OpenFile(s.binary(key(1)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte{0xff, 0, 0xff, 0}, 5000); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if err := os.Truncate(s.binary(key(2)), 9999); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.home(key(3))); err != nil { // as another process forgets it
		t.Fatal(err)
	}

	report, err := s.Scrub(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(report.Damaged)
	want := []string{key(1), key(2)}
	slices.Sort(want)
	if !slices.Equal(report.Damaged, want) || report.Checked != 2 || report.Unbound != 1 {
		t.Errorf("unexpected report %+v", report)
	}
	if got := strings.Count(logged.String(), "level=ERROR"); got != 2 {
		t.Errorf("%d errors logged, want 2:\n%s", got, logged)
	}
	wantBytes(t, s, 0, 10_000)
	for _, n := range []int{1, 2} {
		if _, err := s.Open(t.Context(), key(n)); !errors.Is(err, cache.ErrEvicted) {
			t.Errorf("Open of damaged %d: %v", n, err)
		}
		if bound, err := s.Lookup(t.Context(), cachetest.Recipe(n).Path()); err != nil || bound != key(n) {
			t.Errorf("Lookup of damaged %d: %s, %v", n, bound, err)
		}
		mustPut(t, s, n, 10_000)
	}
	report, err = s.Scrub(t.Context())
	if err != nil || report.Checked != 3 || report.Bytes != 30_000 || len(report.Damaged)+report.Unbound != 0 {
		t.Errorf("second scrub: %+v, %v", report, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scrub(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Scrub with a canceled context: %v", err)
	}
}

func TestDamagedRecordIsBuiltAnew(t *testing.T) {
	for what, text := range map[string]string{"empty": "", "cut": `{"recipe": {`, "no artifact": `{"digest": "../../x"}`} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			mustPut(t, mustOpen(t, Config{Dir: dir}), 1, 10_000)
			logger, logged := logTo()
			s := mustOpen(t, Config{Dir: dir, Logger: logger})
			write(t, s.record(key(1)), text)
			if _, err := s.Open(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("Open: %v, want ErrNotFound", err)
			}
			if !strings.Contains(logged.String(), "level=ERROR") {
				t.Errorf("no error was logged:\n%s", logged)
			}
			mustPut(t, s, 1, 10_000)
			wantBytes(t, s, 1, 10_000)
		})
	}
}

func TestDamagedBindingIsNotFoundAndCanBeMadeAgain(t *testing.T) {
	const path = "/linux/amd64/k6@v1.8.1"
	for what, text := range map[string]string{
		"empty": "", "cut": `{"path": "/linux`,
		"another path": `{"path": "/linux/amd64/k6@v1.8.0", "key": "` + key(1) + `"}`,
		"a bad key":    `{"path": "` + path + `", "key": "../../../etc/passwd"}`,
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			first := mustOpen(t, Config{Dir: dir})
			mustPut(t, first, 1, 1000)
			if _, err := first.Bind(t.Context(), path, key(1)); err != nil {
				t.Fatal(err)
			}
			write(t, first.binding(path), text)
			s := mustOpen(t, Config{Dir: dir})
			if _, err := s.Lookup(t.Context(), path); !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("Lookup: %v, want ErrNotFound", err)
			}
			if report, err := s.Scrub(t.Context()); err != nil || report.Unbound != 1 {
				t.Errorf("Scrub: %+v, %v", report, err)
			}
			if bound, err := s.Bind(t.Context(), path, key(1)); err != nil || bound != key(1) {
				t.Errorf("Bind: %s, %v", bound, err)
			}
		})
	}
}

func TestRecordRemovedWhileOpenDoesNotBlockTheKey(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir()})
	mustPut(t, s, 1, 1000)
	if err := os.Remove(s.record(key(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Record(t.Context(), key(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Record: %v", err)
	}
	mustPut(t, s, 1, 1000)
	wantBytes(t, s, 1, 1000)
	if stats := s.Stats(); stats.Artifacts != 1 {
		t.Errorf("%+v", stats)
	}
}
