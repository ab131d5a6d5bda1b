package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
	"k6x/internal/disk"
)

// A victim is this test binary again, with these variables.
const (
	victimDir  = "K6X_TEST_VICTIM_DIR"
	victimStep = "K6X_TEST_VICTIM_STEP"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	victimSize  = 30_000
	victimLimit = 100_000
)

// victim works on a store until the step that it is told, then writes a byte to stdout
// and waits for its end.
func victim(dir string) error {
	left, err := strconv.Atoi(os.Getenv(victimStep))
	if err != nil {
		return err
	}
	s, err := open(Config{Dir: dir, Size: victimLimit}, disk.FS{Fault: func(step, _ string) error {
		if left--; left == 0 {
			os.Stdout.WriteString(step + "\n")
			select {}
		}
		return nil
	}})
	if err != nil {
		return err
	}
	defer s.Close()
	return work(s)
}

// work puts and binds so that binaries are evicted, records forgotten, and an evicted
// binary is put back.
func work(s *Store) error {
	for _, n := range []int{0, 1, 2, 3, 1} {
		_, err := s.Put(context.Background(), cachetest.Recipe(n), func(w io.Writer) (k6x.Build, error) {
			data := cachetest.Bytes(uint64(n), victimSize)
			if _, err := w.Write(data[:victimSize/2]); err != nil {
				return k6x.Build{}, err
			}
			_, err := w.Write(data[victimSize/2:])
			return k6x.Build{Lock: k6x.Lock{GoSum: strings.Repeat("x", 7000)}}, err
		})
		if err != nil {
			return err
		}
		if _, err := s.Bind(context.Background(), cachetest.Recipe(n).Path(), key(n)); err != nil {
			return err
		}
	}
	return nil
}

func TestKilledAtAnyStepAnArtifactIsThereAsAWholeOrNotAtAll(t *testing.T) {
	const workers = 4
	var mu sync.Mutex
	seen := map[string]int{}
	t.Run("steps", func(t *testing.T) {
		for worker := range workers {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for step := worker + 1; !t.Failed(); step += workers {
					dir := t.TempDir()
					name := killAt(t, dir, step)
					if name == "" {
						return
					}
					mu.Lock()
					seen[name]++
					mu.Unlock()
					afterKill(t, dir, fmt.Sprintf("killed before step %d, %s", step, name))
				}
			})
		}
	})
	for _, name := range []string{"mkdir", "create", "write", "sync", "rename", "syncdir", "touch", "remove"} {
		if seen[name] == 0 {
			t.Errorf("no victim was killed at a step %s: %v", name, seen)
		}
	}
	t.Logf("killed at %v", seen)
}

// killAt runs a victim and kills it before the given step, whose name it returns. If there
// are fewer steps, it returns "".
func killAt(t *testing.T, dir string, step int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+dir, victimStep+"="+strconv.Itoa(step))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var name string
	_, readErr := fmt.Fscanln(out, &name)
	if readErr == nil {
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); readErr != nil && err != nil {
		t.Fatalf("victim: %v", err)
	}
	return name
}

var tidyNames = regexp.MustCompile(`^(lock|artifacts|paths|tmp` +
	`|artifacts/([0-9a-f]{2})(/[0-9a-f]{64}(/binary|/artifact\.json)?)?` +
	`|paths/[0-9a-f]{2}(/[0-9a-f]{64})?|tmp/[0-9]+(/lock)?)$`)

// afterKill opens the store again and checks everything in it.
func afterKill(t *testing.T, dir, when string) {
	t.Helper()
	s, err := Open(Config{Dir: dir, Size: victimLimit})
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer s.Close()
	temps := 0
	for _, name := range filesBelow(t, dir) {
		name, err := filepath.Rel(dir, name)
		if err != nil {
			t.Fatal(err)
		}
		name = filepath.ToSlash(name)
		if !tidyNames.MatchString(name) {
			t.Errorf("%s: leftover %s", when, name)
		}
		if strings.HasPrefix(name, "tmp/") {
			temps++
		}
	}
	if temps != 2 {
		t.Errorf("%s: %d names below tmp, want our own directory and its lock", when, temps)
	}
	for n := range 4 {
		wantWholeOrNothing(t, s, n, when)
	}
	if err := work(s); err != nil {
		t.Errorf("%s: work after the restart: %v", when, err)
	}
	wantBytes(t, s, 1, victimSize)
	wantBytes(t, s, 3, victimSize)
	if stats := s.Stats(); stats.Bytes > victimLimit {
		t.Errorf("%s: over the limit: %+v", when, stats)
	}
}

func wantWholeOrNothing(t *testing.T, s *Store, n int, when string) {
	t.Helper()
	recordThere := exists(t, s.record(key(n)))
	artifact, err := s.Record(t.Context(), key(n))
	switch {
	case recordThere && (err != nil || artifact.Size != victimSize):
		t.Errorf("%s: record of %d: %+v, %v", when, n, artifact, err)
	case !recordThere && !errors.Is(err, cache.ErrNotFound):
		t.Errorf("%s: record of %d: %v, want ErrNotFound", when, n, err)
	case !recordThere && exists(t, s.home(key(n))):
		t.Errorf("%s: artifact %d has no record", when, n)
	}
	if exists(t, s.binary(key(n))) {
		wantBytes(t, s, n, victimSize)
	}
	switch bound, err := s.Lookup(t.Context(), cachetest.Recipe(n).Path()); {
	case err == nil && (bound != key(n) || !recordThere):
		t.Errorf("%s: path %d bound to %s", when, n, bound)
	case err != nil && !errors.Is(err, cache.ErrNotFound):
		t.Errorf("%s: Lookup of %d: %v", when, n, err)
	}
}

func exists(t testing.TB, name string) bool {
	t.Helper()
	_, err := os.Lstat(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}
