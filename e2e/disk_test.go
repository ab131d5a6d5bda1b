//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// On a full file system below the store old binaries make room; if there are none, the answer names the disk, and nothing else ends.
func TestAFullDiskIsToldAndOutlived(t *testing.T) {
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
	ballast := filepath.Join(store, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 40<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir)
	got := get(t, s.url+host+redisList)
	if got.status != 507 || got.header.Get("Cache-Control") != "no-store" || !strings.Contains(got.text(), "disk of the store") || strings.Contains(got.text(), dir) {
		t.Errorf("%d (%s) on a full disk\n%s", got.status, got.header.Get("Cache-Control"), got.text())
	}
	for since := time.Now(); ; time.Sleep(50 * time.Millisecond) { // it is looked at now and then
		ready := get(t, s.url+"/ready")
		if ready.status == 200 && strings.Contains(ready.text(), "disk of the store") && !strings.Contains(ready.text(), dir) {
			break
		}
		if time.Since(since) > time.Minute {
			t.Fatalf("/ready: %d\n%s", ready.status, ready.text())
		}
	}
	if found := leftovers(t, dir); len(found) > 0 {
		t.Errorf("left over: %v", found)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for since := time.Now(); strings.Contains(get(t, s.url+"/ready").text(), "disk of the store"); time.Sleep(50 * time.Millisecond) {
		if time.Since(since) > time.Minute {
			t.Fatal("/ready does not see that there is room again")
		}
	}
	for _, list := range []string{redisList, "k6@v1.8.1,k6/x/one@v0.1.0", redisList} { // there is room for one of them at a time
		fetch(t, s.url+host+list)
	}
}
