package native

import (
	"io"
	"os"
	"syscall"
	"testing"

	"k6x"
	"k6x/builder"
	"k6x/internal/testmod"
	"k6x/internal/warmcache"
)

// TestFullDisk fills a small file system at different steps of a build, and makes room.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		if os.Getenv("K6X_TEST_FULL") != "" {
			t.Fatal(err)
		}
		t.Skip("a small file system cannot be mounted: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	e := newEngine(t, Config{Dir: dir, Tool: standinTool(t, testmod.Serve(t, "../../testdata/standin"))})
	for _, size := range []string{"64k", "512k", "4m"} {
		if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
		_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard)
		failure{kind: k6x.NoSpace, message: []string{"no room"}}.check(t, err)
		if left := leftovers(t, e); len(left) > 0 {
			t.Errorf("with %s, left in the work directory: %v", size, left)
		}
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=500m"); err != nil {
		t.Fatal(err)
	}
	if err := warmcache.CopyStandard(e.Dirs.Cache); err != nil { // there is room for what comes of a build
		t.Fatal(err)
	}
	build(t, e, e.recipe("v1.0.0"), nil)
}
