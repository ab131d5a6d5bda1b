package binaries

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k6x"
)

var (
	linux = k6x.Platform{OS: "linux", Arch: "amd64"}
	start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

// clock is a time that goes on by a minute whenever it is asked for.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Minute)
	return c.now
}

func newDir(t testing.TB, cfg Config) *Dir {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "bin")
	}
	if cfg.Clock == nil {
		cfg.Clock = (&clock{now: start}).Now
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func list(t testing.TB, s string) k6x.List {
	t.Helper()
	l, err := k6x.ParseList(s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func metaOf(t testing.TB, platform k6x.Platform, pinned string) Meta {
	t.Helper()
	m := Meta{Platform: platform, Versions: map[string]string{}, Source: "http://service/" + pinned}
	for _, dep := range list(t, pinned) {
		m.Versions[dep.Name] = dep.Constraint.Version()
	}
	return m
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func write(body string) func(*os.File) error {
	return func(file *os.File) error {
		_, err := file.WriteString(body)
		return err
	}
}

func never(t testing.TB) func(*os.File) error {
	return func(*os.File) error {
		t.Error("made again")
		return os.ErrInvalid
	}
}

func mustAdd(t testing.TB, d *Dir, pinned, body string) Binary {
	t.Helper()
	b, err := d.Add(t.Context(), metaOf(t, linux, pinned), write(body))
	if err != nil {
		t.Fatalf("Add %s: %v", pinned, err)
	}
	return b
}

func mustUse(t testing.TB, d *Dir, b Binary) (release func()) {
	t.Helper()
	release, err := d.Use(t.Context(), b)
	if err != nil {
		t.Fatalf("Use: %v", err)
	}
	return release
}

func wantBody(t testing.TB, b Binary, want string) {
	t.Helper()
	got, err := os.ReadFile(b.Path)
	if err != nil || string(got) != want {
		t.Errorf("%s has %d bytes (%v), want %d", b.Path, len(got), err, len(want))
	}
	if info, err := os.Stat(b.Path); err == nil && info.Mode()&0o111 != 0o111 && os.PathSeparator == '/' {
		t.Errorf("mode %v", info.Mode())
	}
}

// wantTidy checks that nothing is there but these entries, and nothing half done.
func wantTidy(t testing.TB, d *Dir, entries int) {
	t.Helper()
	if left, err := filepath.Glob(d.work("tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	names, err := filepath.Glob(filepath.Join(d.cfg.Dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		switch base := filepath.Base(name); base {
		case "k6", "k6.exe", recordName, lockName:
		default:
			if !strings.Contains(name, ".work") {
				t.Errorf("left %s", name)
			}
		}
	}
	if ids, err := d.ids(); err != nil || len(ids) != entries {
		t.Errorf("%d entries (%v), want %d", len(ids), err, entries)
	}
}
