package objects

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k6x"
)

// leave writes an object as the original k6build does.
func leave(t *testing.T, dir, id, body, checksum string) {
	t.Helper()
	home := filepath.Join(dir, id)
	if err := os.MkdirAll(home, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"data": body, "checksum": checksum} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func digest(body string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(body))) }

// A directory of the original k6build serves what it has, from the first start on and without a loss.
func TestWhatK6buildHasLeftIsTakenOver(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("5a", 20)
	leave(t, dir, id, "a binary", digest("a binary"))
	leave(t, dir, "named", "another", digest("another")+"\n")
	if err := os.Mkdir(filepath.Join(dir, "unfinished"), 0o750); err != nil { // of an upload that broke off
		t.Fatal(err)
	}
	for range 2 {
		s := mustOpen(t, Config{Dir: dir})
		wantBody(t, s, id, "a binary")
		wantBody(t, s, "named", "another")
		wantEmpty(t, s, 2, int64(len("a binary")+len("another")))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(dir, id, "data")); err != nil || string(data) != "a binary" {
		t.Errorf("k6build has lost it: %q, %v", data, err)
	}
}

// What cannot be taken over is told at the start, and stays.
func TestWhatCannotBeTakenOverIsTold(t *testing.T) {
	for words, spoil := range map[string]func(dir string) Config{
		"not those of its checksum": func(dir string) Config {
			leave(t, dir, "damaged", "half", digest("whole"))
			return Config{}
		},
		"is not an id": func(dir string) Config {
			leave(t, dir, "no id", "body", digest("body"))
			return Config{}
		},
		"too large": func(dir string) Config {
			leave(t, dir, "large", "body", digest("body"))
			return Config{MaxObject: 3}
		},
		"is full": func(dir string) Config {
			leave(t, dir, "large", "body", digest("body"))
			return Config{Size: 3}
		},
	} {
		dir := t.TempDir()
		cfg := spoil(dir)
		cfg.Dir = dir
		s, err := Open(cfg)
		if err == nil {
			t.Errorf("%s: it opens", words)
			s.Close()
			continue
		}
		if e := k6x.AsError(err); !strings.Contains(e.Message, words) || !strings.Contains(e.Message, dir) || e.Hint == "" {
			t.Errorf("%s: %s (%s)", words, e.Message, e.Hint)
		}
		if s, err = Open(Config{Dir: dir, MaxObject: 1 << 20}); err == nil { // the lock is free again
			s.Close()
		} else if strings.Contains(err.Error(), "in use") {
			t.Error(err)
		}
	}
}
