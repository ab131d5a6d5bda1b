package buildcache

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var writeLayout = flag.Bool("write-layout", false, "write the bucket below testdata/layout anew, with the program of now")

// The bucket was written by the first release. Old and new services share one.
func TestBucketOfTheFirstReleaseIsRead(t *testing.T) {
	layout, err := filepath.Abs("../testdata/layout/build-cache")
	if err != nil {
		t.Fatal(err)
	}
	samples := []sample{makeSample("a", 100), makeSample("b", 1<<12), makeSample("empty", 0)}
	if *writeLayout {
		if err := os.RemoveAll(layout); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(layout, 0o755); err != nil {
			t.Fatal(err)
		}
		fill(t, openStore(t, "file://"+filepath.ToSlash(layout)), "k6@v1", samples...)
	}
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(layout)); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, Config{Remote: openStore(t, "file://"+filepath.ToSlash(root)), ReadOnly: true})
	want(t, start(t, c, "k6@v1"), samples...)
	if n := c.Stats(); n.RemoteHits != int64(len(samples)) || n.ReadFailures != 0 {
		t.Errorf("%+v", n)
	}
}
