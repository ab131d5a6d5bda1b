package binaries

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"k6x"
)

// Whatever happened to a binary, it is noticed before it is run, and can be made again.
func TestADamagedBinaryIsNoticedAndRemoved(t *testing.T) {
	overwrite := func(name, with string) error {
		file, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = file.WriteString(with)
		return errors.Join(err, file.Close())
	}
	for name, damage := range map[string]func(path string) error{
		"other bytes":    func(path string) error { return overwrite(path, "binarY") },
		"fewer bytes":    func(path string) error { return os.Truncate(path, 3) },
		"gone":           os.Remove,
		"a link instead": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/bin/sh", path)) },
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && name != "other bytes" && name != "fewer bytes" {
				t.Skip("not to be had on Windows")
			}
			d := newDir(t, Config{})
			b := mustAdd(t, d, one, "binary")
			if err := damage(b.Path); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Use(t.Context(), b); !errors.Is(err, ErrDamaged) || k6x.AsError(err).Hint == "" {
				t.Errorf("Use: %v", err)
			}
			wantTidy(t, d, 0)
			if _, err := d.Use(t.Context(), b); !errors.Is(err, ErrGone) {
				t.Errorf("Use of what is gone: %v", err)
			}
			mustUse(t, d, mustAdd(t, d, one, "binary"))()
		})
	}
}

// All bytes are read again when the file looks different, after which it looks as before.
func TestABinaryThatWasCopiedIsReadOnce(t *testing.T) {
	d := newDir(t, Config{Clock: func() time.Time { return start }})
	b := mustAdd(t, d, one, "binary")
	added := time.Unix(0, b.modTime)
	for name, change := range map[string]func() error{
		"time":       func() error { return os.Chtimes(b.Path, start, start) },
		"permission": func() error { return os.Chmod(b.Path, 0o644) }, // as some archives do
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		mustUse(t, d, b)()
		if info, err := os.Stat(b.Path); err != nil || !info.ModTime().Equal(added) {
			t.Errorf("%s: modified at %v, want %v (%v)", name, info.ModTime(), added, err)
		}
		if again, err := d.read(b.id, nil); err != nil || !again.Used.Equal(start) {
			t.Errorf("%s: used at %v (%v), want %v", name, again.Used, err, start)
		}
		wantBody(t, b, "binary")
	}
	wantTidy(t, d, 1)
}

// Where records are sealed, the time of a file proves nothing.
func TestAFileWithTheTimePutBackIsNoticedInAProject(t *testing.T) {
	d := newDir(t, Config{Secret: filepath.Join(t.TempDir(), "secret")})
	b := mustAdd(t, d, one, "binary")
	added := time.Unix(0, b.modTime)
	if err := errors.Join(os.WriteFile(b.Path, []byte("binarY"), 0o755), os.Chtimes(b.Path, added, added)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Use(t.Context(), b); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	wantTidy(t, d, 0)
}

// A damaged binary that was replaced in the meantime stays.
func TestWhatWasReplacedIsNotRemoved(t *testing.T) {
	d := newDir(t, Config{})
	b := mustAdd(t, d, one, "binary")
	if err := d.drop(t.Context(), b, nil, errors.New("seen before")); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	mustUse(t, d, b)()
}

func TestADirectoryThatIsReadOnlyIsUsed(t *testing.T) {
	d := newDir(t, Config{})
	b := mustAdd(t, d, one, "binary")
	if err := os.Chtimes(b.Path, start, start); err != nil {
		t.Fatal(err)
	}
	later := newDir(t, Config{Dir: d.Path()})
	for _, dir := range []string{filepath.Dir(b.Path), d.Path()} {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(dir, 0o755)
	}
	found, ok := later.Find(t.Context(), linux, list(t, one))
	if !ok {
		t.Fatal("not found")
	}
	mustUse(t, later, found)()
}

func TestACheckCanBeInterrupted(t *testing.T) {
	d := newDir(t, Config{})
	b := mustAdd(t, d, one, "binary")
	now := time.Now()
	if err := os.Chtimes(b.Path, now, now); err != nil { // so that all of it is read
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Check(ctx, b); k6x.KindOf(err) != k6x.Canceled {
		t.Error(err)
	}
	if err := d.Check(t.Context(), b); err != nil {
		t.Error(err)
	}
}

func BenchmarkFindAndUse(b *testing.B) {
	d := newDir(b, Config{})
	for _, pinned := range []string{"k6@v1.8.1", "k6@v1.8.0", "k6@v1.7.0", one} {
		mustAdd(b, d, pinned, string(make([]byte, 60<<20)))
	}
	needs := list(b, "k6/x/redis")
	for b.Loop() {
		found, _ := d.Find(b.Context(), linux, needs)
		mustUse(b, d, found)()
	}
}
