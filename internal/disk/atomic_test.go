package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustRead(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	return names
}

func TestAnAtomicFileIsThereAsAWholeOrNotAtAll(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{"", "create", "write", "rename"} {
		dir := t.TempDir()
		temp, name := filepath.Join(dir, "temp"), filepath.Join(dir, "sub", "name")
		write := func(data string, fault string) error {
			steps := FS{Fault: func(at, _ string) error {
				if at == fault {
					return broken
				}
				return nil
			}}
			return steps.WriteAtomic(Atomic{Name: name, Temp: temp, Mode: 0o600, Sync: true}, []byte(data))
		}
		if err := write("old", ""); err != nil {
			t.Fatal(err)
		}
		want := "new"
		err := write("new", step)
		if step != "" {
			want = "old"
		}
		if (err != nil) != (step != "") || err != nil && !errors.Is(err, broken) {
			t.Errorf("%s: got %v", step, err)
		}
		if got := mustRead(t, name); got != want {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
		if left := entries(t, temp); len(left) != 0 {
			t.Errorf("%s: left %v", step, left)
		}
		if info, err := os.Stat(name); err != nil || os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", step, info, err)
		}
	}
}

func TestAnAtomicFileBesideItsNameNeedsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := (FS{}).WriteAtomic(Atomic{Name: filepath.Join(dir, "none", "name")}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	file, err := FS{}.Begin(Atomic{Name: filepath.Join(dir, "name")})
	if err != nil {
		t.Fatal(err)
	}
	file.Discard()
	if left := entries(t, dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestTheFirstFileStaysIfAbsentIsWanted(t *testing.T) {
	name := filepath.Join(t.TempDir(), "name")
	for _, data := range []string{"first", "second"} {
		if err := (FS{}).WriteAtomic(Atomic{Name: name, IfAbsent: true}, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if got := mustRead(t, name); got != "first" {
		t.Errorf("got %q", got)
	}
	if left := entries(t, filepath.Dir(name)); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func TestSweepTakesWhatIsOldAndHasThePrefix(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-2 * time.Hour)
	for _, name := range []string{"a-old", "a-young", "b-old"} {
		if err := os.MkdirAll(filepath.Join(dir, name, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "old") {
			if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	Sweep(dir, "a-", time.Hour)
	Sweep(filepath.Join(dir, "none"), "", time.Hour)
	if got := entries(t, dir); len(got) != 2 || got[0] != "a-young" || got[1] != "b-old" {
		t.Errorf("left %v", got)
	}
}

func TestLocksExcludeAndEndWithTheContext(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(t.Context(), name, true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := TryLock(name, true)
	if err != nil || second == nil {
		t.Fatalf("shared: %v, %v", second, err)
	}
	if third, err := TryLock(name, false); err != nil || third != nil {
		t.Errorf("exclusive beside shared: %v, %v", third, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*poll)
	defer cancel()
	if lock, err := Lock(ctx, name, false); lock != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited: %v, %v", lock, err)
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	last, err := Lock(t.Context(), name, false)
	if err != nil {
		t.Fatal(err)
	}
	last.Close()
}

func TestReadsAreBounded(t *testing.T) {
	for size, fits := range map[int]bool{0: true, 10: true, 11: false, 1000: false} {
		text := strings.Repeat("x", size)
		name := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		data, err := ReadAll(strings.NewReader(text), 10)
		if large := (*TooLargeError)(nil); (err == nil) != fits || fits && string(data) != text || !fits && !errors.As(err, &large) {
			t.Errorf("%d bytes: %q, %v", size, data, err)
		}
		if data, err := ReadFile(name, 10); (err == nil) != fits || fits && string(data) != text || !fits && !errors.As(err, new(*TooLargeError)) {
			t.Errorf("%d bytes of a file: %q, %v", size, data, err)
		}
	}
	if _, err := ReadFile(t.TempDir(), 1<<20); !errors.Is(err, ErrIrregular) {
		t.Errorf("a directory: %v", err)
	}
}

func TestALinkIsNoRegularFile(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("target", link); err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "target"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Regular(link); err == nil {
		t.Error("a link was followed")
	}
	if _, err := Regular(filepath.Join(dir, "target")); err != nil {
		t.Error(err)
	}
}

func TestADigestEndsWithTheContext(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got, size, err := DigestFile(t.Context(), name); got != want || size != 3 || err != nil {
		t.Errorf("%s of %d bytes, %v", got, size, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := DigestFile(ctx, name); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
