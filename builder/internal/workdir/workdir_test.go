package workdir

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

func TestSweepRemovesWhatNobodyHasLocked(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	alive, err := Open(t.Context(), dir, log)
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(dir, "work")
	dead := filepath.Join(all, "dead", "1", "tmp")
	if err := os.MkdirAll(dead, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dead, "file"), filepath.Join(all, "stray")} {
		if err := os.WriteFile(file, nil, 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dead, 0o500); err != nil {
		t.Fatal(err)
	}
	next, err := Open(t.Context(), dir, log)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(all)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v, %v: want the directories of the two that live", entries, err)
	}
	for _, w := range []*Dir{alive, next} {
		if _, err := os.Stat(w.Path); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if entries, _ := os.ReadDir(all); len(entries) > 0 {
		t.Errorf("%v are left", entries)
	}
}
