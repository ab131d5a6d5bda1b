//go:build unix

package binaries

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"k6x"
)

// What came with a project may have pipes where files are expected.
func TestAPipeIsNotWaitedFor(t *testing.T) {
	d := newDir(t, Config{Dir: t.TempDir()})
	m := metaOf(t, k6x.Platform{OS: "linux", Arch: "amd64"}, "k6@v1.0.0")
	pipe := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pipe(filepath.Join(d.home(idOf(m)), recordName))
	if b, ok := d.Find(t.Context(), m.Platform, nil); ok {
		t.Errorf("found %s", b.Path)
	}
	pipe(d.key(idOf(m)))
	if _, err := d.Add(t.Context(), m, func(*os.File) error { return nil }); err == nil {
		t.Error("a pipe is taken for a lock")
	}
}
