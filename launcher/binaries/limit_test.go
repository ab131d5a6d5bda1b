package binaries

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var thousand = strings.Repeat("x", 10_000)

func names(t *testing.T, d *Dir) string {
	t.Helper()
	all, err := d.Binaries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, b := range all {
		versions = append(versions, b.Versions["k6"])
	}
	return strings.Join(versions, " ")
}

func TestThoseUnusedForLongestGo(t *testing.T) {
	d := newDir(t, Config{Size: 35_000})
	first := mustAdd(t, d, "k6@v1.0.1", thousand)
	mustAdd(t, d, "k6@v1.0.2", thousand)
	mustAdd(t, d, "k6@v1.0.3", thousand)
	mustUse(t, d, first)()
	mustAdd(t, d, "k6@v1.0.4", thousand)
	if got := names(t, d); got != "v1.0.4 v1.0.1 v1.0.3" {
		t.Errorf("left %s", got)
	}
	stats, err := d.Stats(t.Context())
	if err != nil || stats.Binaries != 3 || stats.Bytes < 30_000 || stats.Bytes > 35_000 {
		t.Errorf("%+v, %v", stats, err)
	}
	mustAdd(t, d, "k6@v1.0.5", strings.Repeat(thousand, 5)) // larger than the limit, but wanted
	if got := names(t, d); got != "v1.0.5" {
		t.Errorf("left %s", got)
	}
	wantTidy(t, d, 1)
}

func TestWhatIsInUseStays(t *testing.T) {
	d := newDir(t, Config{Size: 15_000})
	used := mustAdd(t, d, "k6@v1.0.1", thousand)
	release := mustUse(t, d, used)
	mustAdd(t, d, "k6@v1.0.2", thousand)
	mustAdd(t, d, "k6@v1.0.3", thousand)
	if got := names(t, d); got != "v1.0.3 v1.0.1" {
		t.Errorf("left %s", got)
	}
	if done, err := d.Clear(t.Context()); err != nil || done.Removed != 1 || done.InUse < 1 || done.Bytes < 10_000 {
		t.Errorf("%+v, %v", done, err)
	}
	wantBody(t, used, thousand)
	release()
	if done, err := d.Clear(t.Context()); err != nil || done.Removed != 1 || done.InUse != 0 {
		t.Errorf("%+v, %v", done, err)
	}
	wantTidy(t, d, 0)
}

func TestPruneAndClearRemoveOnlyWhatIsOurs(t *testing.T) {
	now := start
	d := newDir(t, Config{Clock: func() time.Time { return now }})
	if done, err := d.Prune(t.Context(), time.Hour); err != nil || done != (Pruned{}) {
		t.Errorf("of nothing: %+v, %v", done, err)
	}
	if _, err := os.Stat(d.Path()); !os.IsNotExist(err) {
		t.Errorf("made %v", err)
	}
	mustAdd(t, d, "k6@v1.0.1", "old")
	now = now.Add(time.Hour)
	mustAdd(t, d, "k6@v1.0.2", "new")
	damagedOne := mustAdd(t, d, "k6@v1.0.3", "damaged")
	if err := os.WriteFile(filepath.Join(filepath.Dir(damagedOne.Path), recordName), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"k6", "k6-notes", "k6-" + strings.Repeat("g", 32)} {
		if err := os.WriteFile(filepath.Join(d.Path(), name), []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if done, err := d.Prune(t.Context(), 0); err != nil || done.Removed != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := d.Prune(t.Context(), 30*time.Minute); err != nil || done.Removed != 1 || names(t, d) != "v1.0.2" {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := d.Clear(t.Context()); err != nil || done.Removed != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if mine, err := filepath.Glob(filepath.Join(d.Path(), "k6*")); err != nil || len(mine) != 3 {
		t.Errorf("left %v", mine)
	}
}
