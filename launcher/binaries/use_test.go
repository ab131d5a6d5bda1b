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
		"other bytes, and the time put back": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return errors.Join(overwrite(path, "binarY"), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
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

// All bytes are read again once a day, and when the file looks different; then the record says so.
func TestAllIsReadAgainAfterADay(t *testing.T) {
	now := start
	d := newDir(t, Config{Clock: func() time.Time { return now }})
	b := mustAdd(t, d, one, "binary")
	checked := func() time.Time {
		t.Helper()
		mustUse(t, d, b)()
		again, err := d.read(b.id, nil)
		if err != nil || !again.Used.Equal(now) {
			t.Fatalf("used %v (%v), want %v", again.Used, err, now)
		}
		return again.record.Stamp.Checked
	}
	now = start.Add(trusted - time.Second)
	if got := checked(); !got.Equal(start) {
		t.Errorf("read again after %v", got.Sub(start))
	}
	now = start.Add(trusted)
	if got := checked(); !got.Equal(now) {
		t.Errorf("last read at %v", got)
	}
	now = start.Add(-time.Hour) // the clock was wrong
	if got := checked(); !got.Equal(now) {
		t.Errorf("last read at %v", got)
	}
	now = now.Add(time.Minute)
	if err := os.Chtimes(b.Path, now, now); err != nil {
		t.Fatal(err)
	}
	if got := checked(); !got.Equal(now) {
		t.Errorf("last read at %v", got)
	}
	if err := os.Chmod(b.Path, 0o644); err != nil { // as some archives do
		t.Fatal(err)
	}
	checked()
	wantBody(t, b, "binary")
	wantTidy(t, d, 1)
}

// A damaged binary that was replaced in the meantime stays.
func TestWhatWasReplacedIsNotRemoved(t *testing.T) {
	d := newDir(t, Config{})
	b := mustAdd(t, d, one, "binary")
	old, err := identify(b.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.discard(b.id, true); err != nil {
		t.Fatal(err)
	}
	b = mustAdd(t, d, one, "binary")
	if err := d.drop(t.Context(), b, old, errors.New("seen before")); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	mustUse(t, d, b)()
}

func TestADirectoryThatIsReadOnlyIsUsed(t *testing.T) {
	d := newDir(t, Config{Clock: (&clock{now: time.Now().Add(48 * time.Hour)}).Now})
	b := mustAdd(t, d, one, "binary")
	later := newDir(t, Config{Dir: d.Path(), Clock: func() time.Time { return time.Now().Add(96 * time.Hour) }})
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
	wish := list(b, "k6/x/redis")
	for b.Loop() {
		found, _ := d.Find(b.Context(), linux, wish)
		mustUse(b, d, found)()
	}
}
