package binaries

import (
	"flag"
	"os"
	"testing"
)

var writeLayout = flag.Bool("write-layout", false, "write the directory below testdata/layout anew, with the program of now")

// The directory was written by the first release; what it has is used as it is.
func TestBinariesOfTheFirstReleaseAreUsed(t *testing.T) {
	const layout = "../../testdata/layout/binaries"
	if *writeLayout {
		if err := os.RemoveAll(layout); err != nil {
			t.Fatal(err)
		}
		d := newDir(t, Config{Dir: layout})
		mustAdd(t, d, "k6@v1.8.1", "bare")
		mustAdd(t, d, "k6@v1.8.1,k6/x/redis@v0.3.6", "with redis")
	}
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(layout)); err != nil {
		t.Fatal(err)
	}
	d := newDir(t, Config{Dir: root})
	for needs, body := range map[string]string{"k6": "bare", "k6@v1.8.1,k6/x/redis": "with redis"} {
		b, ok := d.Find(t.Context(), linux, list(t, needs))
		if !ok {
			t.Errorf("nothing is found for %s", needs)
			continue
		}
		mustUse(t, d, b)()
		wantBody(t, b, body)
	}
	wantTidy(t, d, 2)
}
