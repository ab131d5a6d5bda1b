//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A full file system below the store is an answer that says so, and the end of nothing.
func TestFullDiskIsToldAndOutlived(t *testing.T) {
	forFull(t)
	dir := warmDir(t)
	store := filepath.Join(dir, "store")
	if err := os.Mkdir(store, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", store, "tmpfs", 0, "size=60m"); err != nil {
		if full {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(store, syscall.MNT_DETACH) })
	s := start(t, dir)
	fetch(t, s.url+host+redisList)
	got := get(t, s.url+host+"k6@v1.8.1,k6/x/one@v0.1.0")
	if got.status != 507 || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d (%s) on a full disk\n%s", got.status, got.header.Get("Cache-Control"), got.text())
	}
	if found := leftovers(t, dir); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
	fetch(t, s.url+host+redisList) // what is there is served all the same
	if err := syscall.Mount("tmpfs", store, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	fetch(t, s.url+host+"k6@v1.8.1,k6/x/one@v0.1.0")
}
