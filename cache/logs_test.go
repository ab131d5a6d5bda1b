package cache_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
)

func openLogs(t *testing.T, dir string, maxFiles int) *cache.Logs {
	t.Helper()
	logs, err := cache.OpenLogs(dir, maxFiles, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

func logKey(n int) string { return cachetest.Recipe(n).Key() }

func readLog(t *testing.T, logs *cache.Logs, n int) string {
	t.Helper()
	file, at, err := logs.Open(t.Context(), logKey(n))
	if err != nil {
		t.Fatalf("Open of log %d: %v", n, err)
	}
	defer file.Close()
	if since := time.Since(at); since < -time.Minute || since > time.Minute {
		t.Errorf("log %d was put at %v", n, at)
	}
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLogIsReadAsItWasPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	logs := openLogs(t, dir, 10)
	for _, text := range []string{"it.go:3: syntax error\n", "", "another\n", strings.Repeat("x", 1024)} {
		if err := logs.Put(logKey(1), text); err != nil {
			t.Fatal(err)
		}
		if got := readLog(t, openLogs(t, dir, 10), 1); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("left %q, want one file", got)
	}
}

func TestLogUnderBadOrUnknownKey(t *testing.T) {
	dir := t.TempDir()
	logs := openLogs(t, filepath.Join(dir, "logs"), 10)
	for _, key := range []string{"", "../../x", logKey(1) + "/..", strings.ToUpper(logKey(1))} {
		if err := logs.Put(key, "x"); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("Put %q: %v", key, err)
		}
		if _, _, err := logs.Open(t.Context(), key); k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("Open %q: %v", key, err)
		}
	}
	if _, _, err := logs.Open(t.Context(), logKey(1)); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Open: %v, want ErrNotFound", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left %q", got)
	}
}

func TestLongLogLosesItsMiddle(t *testing.T) {
	logs := openLogs(t, t.TempDir(), 10)
	text := "first line\n" + strings.Repeat("ä€😀x", 1000) + "\nlast line\n"
	for shift := range 12 { // so that the cuts go through a character everywhere
		if err := logs.Put(logKey(1), strings.Repeat("y", shift)+text); err != nil {
			t.Fatal(err)
		}
		got := readLog(t, logs, 1)
		if len(got) > 1024 || len(got) < 1000 || !utf8.ValidString(got) || !strings.Contains(got, "left out") ||
			!strings.Contains(got, "first line") || !strings.HasSuffix(got, "last line\n") {
			t.Errorf("%d bytes, valid %t: %q", len(got), utf8.ValidString(got), got)
		}
	}
}

func TestOldestLogGoesFirst(t *testing.T) {
	dir := t.TempDir()
	put := func(logs *cache.Logs, n int) {
		if err := logs.Put(logKey(n), fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	logs := openLogs(t, dir, 8)
	for n := range 8 {
		put(logs, n)
		at := time.Now().Add(time.Duration(n-10) * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, logKey(n)+".log"), at, at); err != nil {
			t.Fatal(err)
		}
	}
	put(logs, 0) // the newest but one now
	put(logs, 8)
	put(openLogs(t, dir, 4), 9)
	for n := range 10 {
		file, _, err := logs.Open(t.Context(), logKey(n))
		if err == nil {
			file.Close()
		}
		switch n {
		case 0, 7, 8, 9:
			if err != nil {
				t.Errorf("log %d: %v", n, err)
			}
		default:
			if !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("log %d: %v, want ErrNotFound", n, err)
			}
		}
	}
}

func TestLeftoverOfALogIsRemoved(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, logKey(1)+".tmp-A"), filepath.Join(dir, logKey(1)+".tmp-B")
	makeFile(t, old, 10, 2*time.Hour)
	makeFile(t, young, 10, 0)
	openLogs(t, dir, 10)
	if got := files(t, dir); len(got) != 1 || got[0] != filepath.Base(young) {
		t.Errorf("left %q, want the one that may be in the making", got)
	}
}

func TestLogsPutAtOnce(t *testing.T) {
	dir := t.TempDir()
	logs := openLogs(t, dir, 5)
	var done sync.WaitGroup
	for n := range 20 {
		done.Go(func() {
			if err := logs.Put(logKey(n%10), fmt.Sprint(n%10)); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	if got := files(t, dir); len(got) != 5 {
		t.Errorf("left %d files, want 5", len(got))
	}
}
