package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"k6x"
	"k6x/internal/disk"
)

func mustOpen(t testing.TB, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustPut(t testing.TB, s *Store, id, body string) Object {
	t.Helper()
	object, err := s.Put(t.Context(), id, strings.NewReader(body))
	if err != nil {
		t.Fatalf("Put %s: %v", id, err)
	}
	return object
}

func wantBody(t testing.TB, s *Store, id, want string) {
	t.Helper()
	file, object, err := s.Open(t.Context(), id)
	if err != nil {
		t.Errorf("Open %s: %v", id, err)
		return
	}
	defer file.Close()
	got, err := io.ReadAll(file)
	if verify := s.Verify(object); verify != nil {
		err = errors.Join(err, verify(t.Context()))
	}
	digest, size, _ := disk.Digest(strings.NewReader(want))
	if err != nil || string(got) != want || object.ID != id || object.Checksum != digest || object.Size != size || object.Stored.IsZero() {
		t.Errorf("%s: %d bytes, %+v, %v", id, len(got), object, err)
	}
}

// wantEmpty checks that nothing is on its way in and that the account is right.
func wantEmpty(t testing.TB, s *Store, objects, bytes int64) {
	t.Helper()
	if entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, "tmp")); err != nil || len(entries) > 0 {
		t.Errorf("left below tmp: %v, %v", entries, err)
	}
	if n, size := s.Stats(); n != objects || size != bytes {
		t.Errorf("%d objects with %d bytes, want %d with %d", n, size, objects, bytes)
	}
}

func TestAnObjectIsReadAsItWasPutAlsoByTheNextProcess(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	big := strings.Repeat("0123456789", 100_000)
	bodies := map[string]string{"a": "one", "A": "another", "con": "", "x.": big, strings.Repeat("z", 128): "long"}
	for id, body := range bodies {
		mustPut(t, s, id, body)
	}
	check := func(s *Store) {
		for id, body := range bodies {
			wantBody(t, s, id, body)
		}
		wantEmpty(t, s, 5, int64(len(big)+len("oneanotherlong")))
	}
	check(s)
	if _, err := Open(Config{Dir: dir}); k6x.KindOf(err) != k6x.Conflict {
		t.Errorf("a second process: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(mustOpen(t, Config{Dir: dir}))
}

func TestWhatIsNoIDTouchesNoFile(t *testing.T) {
	s := mustOpen(t, Config{})
	for _, id := range []string{"", ".", "..", "../x", "a/b", `a\b`, ".a", "-a", "a b", "ä", "a\x00", strings.Repeat("a", 129)} {
		if _, err := s.Put(t.Context(), id, strings.NewReader("x")); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("Put %q: %v", id, err)
		}
		if _, _, err := s.Open(t.Context(), id); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("Open %q: %v", id, err)
		}
	}
	if _, err := s.Get(t.Context(), "unknown"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of what is not there: %v", err)
	}
	wantEmpty(t, s, 0, 0)
}

func TestTheFirstOfManyPutsStays(t *testing.T) {
	s := mustOpen(t, Config{})
	var won atomic.Int32
	var winner atomic.Value
	started := make(chan struct{})
	var readers, done sync.WaitGroup
	readers.Add(20)
	for n := range 20 {
		done.Go(func() {
			body := fmt.Sprintf("body %d", n)
			r := readerFunc(func(p []byte) (int, error) { // all of them are on their way before one ends
				if body == "" {
					return 0, io.EOF
				}
				n := copy(p, body)
				body = ""
				readers.Done()
				<-started
				return n, nil
			})
			object, err := s.Put(context.Background(), "one", r)
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(object)
			case !errors.Is(err, ErrDuplicate) || object.ID != "one":
				t.Errorf("%+v, %v", object, err)
			}
		})
	}
	readers.Wait()
	close(started)
	done.Wait()
	object, err := s.Get(t.Context(), "one")
	if won.Load() != 1 || err != nil || object != winner.Load() {
		t.Errorf("%d puts won; there is %+v, %v", won.Load(), object, err)
	}
	wantEmpty(t, s, 1, object.Size)
	if again, err := s.Put(t.Context(), "one", iotest.ErrReader(errors.New("must not be read"))); !errors.Is(err, ErrDuplicate) || again != object {
		t.Errorf("later: %+v, %v", again, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestAPutThatFailsLeavesNothing(t *testing.T) {
	s := mustOpen(t, Config{MaxObject: 1000, Size: 1500})
	broken := errors.New("the client went away")
	canceled, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx  context.Context
		body io.Reader
		want func(error) bool
	}{
		"a reader that fails half-way": {t.Context(), io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)),
			func(err error) bool { return err == broken }},
		"too large":         {t.Context(), strings.NewReader(strings.Repeat("x", 1001)), func(err error) bool { return errors.Is(err, ErrTooLarge) }},
		"a canceled upload": {canceled, readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }), func(err error) bool { return errors.Is(err, context.Canceled) }},
	} {
		if _, err := s.Put(c.ctx, "one", c.body); !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		wantEmpty(t, s, 0, 0)
	}
	mustPut(t, s, "one", strings.Repeat("x", 1000))
	if _, err := s.Put(t.Context(), "two", strings.NewReader(strings.Repeat("x", 501))); k6x.KindOf(err) != k6x.NoSpace {
		t.Errorf("beyond the size of the store: %v", err)
	}
	wantEmpty(t, s, 1, 1000)
	mustPut(t, s, "three", strings.Repeat("x", 500))
	wantBody(t, s, "one", strings.Repeat("x", 1000))
}

// Whichever step on the disk fails, nothing is there and a later Put works.
func TestAnyStepMayFail(t *testing.T) {
	seen := map[string]bool{}
	for failAt := 1; ; failAt++ {
		dir, step, left := t.TempDir(), "", failAt
		s, err := open(Config{Dir: dir}, disk.FS{Fault: func(name, _ string) error {
			if left--; left == 0 && name != "remove" { // what cannot be removed is left to the next Open
				step = name
				return errors.New("injected")
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Put(t.Context(), "one", strings.NewReader("body"))
		if step == "" && left > 0 {
			break
		}
		if step != "" {
			seen[step] = true
			if k6x.KindOf(err) != k6x.Internal || strings.Contains(err.Error(), "injected") {
				t.Errorf("step %d, %s: %v", failAt, step, err)
			}
			wantEmpty(t, s, 0, 0)
			mustPut(t, s, "one", "body")
		}
		wantBody(t, s, "one", "body")
		s.Close()
	}
	for _, step := range []string{"mkdir", "create", "write", "sync", "syncdir", "rename"} {
		if !seen[step] {
			t.Errorf("no step %s failed: %v", step, seen)
		}
	}
}

func TestWhatIsDamagedIsMovedAsideAtTheStart(t *testing.T) {
	for name, damage := range map[string]func(home string) error{
		"a cut body":       func(home string) error { return os.Truncate(filepath.Join(home, bodyName), 2) },
		"no body":          func(home string) error { return os.Remove(filepath.Join(home, bodyName)) },
		"no record":        func(home string) error { return os.Remove(filepath.Join(home, recordName)) },
		"an empty record":  func(home string) error { return os.Truncate(filepath.Join(home, recordName), 0) },
		"another's record": func(home string) error { return os.Rename(home, home[:len(home)-1]+"_") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, Config{Dir: dir})
			mustPut(t, s, "good", "good")
			mustPut(t, s, "bad", "damaged")
			home := filepath.Join(s.cfg.Dir, s.home("bad"))
			s.Close()
			if err := damage(home); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, Config{Dir: dir})
			wantBody(t, s, "good", "good")
			if _, err := s.Get(t.Context(), "bad"); !errors.Is(err, ErrNotFound) {
				t.Errorf("Get: %v", err)
			}
			wantEmpty(t, s, 1, 4)
			mustPut(t, s, "bad", "again")
			wantBody(t, s, "bad", "again")
			if aside, _ := filepath.Glob(filepath.Join(dir, "damaged", "*", "*")); len(aside) == 0 && name != "another's record" {
				t.Error("nothing was moved aside")
			}
		})
	}
}

// An error of the disk, or a right that is missing after a restore, says nothing of the object, which nothing could bring back.
func TestAStoreThatCannotBeReadIsRefusedAndStays(t *testing.T) {
	loop := func(name string) error { // which fails for root, too
		if err := os.Rename(name, name+".kept"); err != nil {
			return err
		}
		return os.Symlink(filepath.Base(name), name)
	}
	back := func(name string) error { return os.Rename(name+".kept", name) }
	forbid := func(name string) error { return os.Chmod(name, 0) }
	allow := func(name string) error { return os.Chmod(name, 0o755) }
	for _, c := range []struct {
		name      string
		bad, good func(string) error
		rights    bool
	}{
		{"a record", loop, back, false}, {"a body", loop, back, false},
		{"a record", forbid, allow, true}, {"a body", forbid, allow, true}, {"a directory", forbid, allow, true},
	} {
		t.Run(fmt.Sprintf("%s, rights %t", c.name, c.rights), func(t *testing.T) {
			if c.rights && (os.Getuid() <= 0) {
				t.Skip("SKIPPED: this user may read all, or there are no such rights")
			}
			dir := t.TempDir()
			s := mustOpen(t, Config{Dir: dir})
			mustPut(t, s, "good", "bytes")
			mustPut(t, s, "bad", "damaged")
			home := filepath.Join(dir, filepath.FromSlash(s.home("good")))
			name := map[string]string{"a record": filepath.Join(home, recordName), "a body": filepath.Join(home, bodyName), "a directory": home}[c.name]
			bad := filepath.Join(dir, filepath.FromSlash(s.home("bad")), recordName)
			if err := errors.Join(s.Close(), os.Truncate(bad, 0), c.bad(name)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Config{Dir: dir})
			if k6x.KindOf(err) != k6x.Invalid || !strings.Contains(err.Error(), home) || k6x.AsError(err).Hint == "" {
				t.Errorf("got %v, want an error that names the file", err)
			}
			if _, err := os.Stat(bad); err != nil {
				t.Errorf("something was changed all the same: %v", err)
			}
			if err := c.good(name); err != nil {
				t.Fatal(err)
			}
			wantBody(t, mustOpen(t, Config{Dir: dir}), "good", "bytes")
		})
	}
}

func TestFilesOfOthersStayWhereTheyAre(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, Config{Dir: dir})
	mustPut(t, s, "good", "bytes")
	shard := filepath.Dir(filepath.Clean(filepath.Join(dir, filepath.FromSlash(s.home("good")))))
	for _, name := range []string{filepath.Join(dir, "objects", "README"), filepath.Join(shard, ".nfs01")} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = mustOpen(t, Config{Dir: dir})
	wantBody(t, s, "good", "bytes")
	wantEmpty(t, s, 1, 5)
}

func TestADamagedBodyIsNotOpened(t *testing.T) {
	s := mustOpen(t, Config{})
	mustPut(t, s, "one", "body")
	if err := os.Truncate(filepath.Join(s.cfg.Dir, s.home("one"), bodyName), 2); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(t.Context(), "one"); k6x.KindOf(err) != k6x.Internal || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: %v", err)
	}
}

func TestAClosedStoreTakesNothing(t *testing.T) {
	s := mustOpen(t, Config{})
	s.Close()
	if _, err := s.Put(t.Context(), "one", bytes.NewReader(nil)); k6x.KindOf(err) != k6x.Busy {
		t.Errorf("Put: %v", err)
	}
}

// flip changes a byte of the body of an object.
func flip(t *testing.T, s *Store, id string) {
	t.Helper()
	name := filepath.Join(s.cfg.Dir, filepath.FromSlash(s.home(id)), bodyName)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	_, was := disk.State(before)
	for now := was; now == was; { // until the clock of the file system has gone on
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		_, now = disk.State(after)
	}
}

func TestABodyIsVerifiedOnceAndAfterEachChange(t *testing.T) {
	s := mustOpen(t, Config{})
	object := mustPut(t, s, "one", "the body")
	verify := func() (asked bool, err error) {
		t.Helper()
		file, object, err := s.Open(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		verify := s.Verify(object)
		if verify == nil {
			return false, nil
		}
		return true, verify(t.Context())
	}
	for n := range 3 {
		if asked, err := verify(); asked != (n == 0) || err != nil {
			t.Errorf("use %d: verified %t, %v", n, asked, err)
		}
	}
	flip(t, s, "one")
	if asked, err := verify(); !asked || k6x.KindOf(err) != k6x.Internal {
		t.Errorf("damaged: verified %t, %v", asked, err)
	}
	if _, err := s.Get(t.Context(), "one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the damaged object is still there: %v", err)
	}
	wantEmpty(t, s, 0, 0)
	if aside, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "damaged", "*", bodyName)); len(aside) != 1 {
		t.Errorf("moved aside is %v", aside)
	}
	if again := mustPut(t, s, "one", "the body"); again.Checksum != object.Checksum {
		t.Errorf("%+v, want %+v", again, object)
	}
	wantBody(t, s, "one", "the body")
}

func TestWhatIsMovedAsideIsBounded(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	aside := func() int {
		t.Helper()
		entries, err := os.ReadDir(filepath.Join(dir, "damaged"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	start := func() *Store { return mustOpen(t, Config{Dir: dir, Clock: func() time.Time { return now }}) }
	s := start()
	for i := range mostAside + 5 {
		mustPut(t, s, fmt.Sprint(i), "body")
		if err := os.Remove(filepath.Join(s.cfg.Dir, filepath.FromSlash(s.home(fmt.Sprint(i))), recordName)); err != nil { // as a killed upload leaves it
			t.Fatal(err)
		}
	}
	s.Close()
	start().Close()
	if got := aside(); got != mostAside {
		t.Errorf("%d are kept, want %d", got, mostAside)
	}
	now = now.Add(longAside + time.Hour)
	start().Close()
	if got := aside(); got != 0 {
		t.Errorf("%d are kept for long", got)
	}
}
