package tier

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k6x"
	"k6x/cache"
	"k6x/cache/cachetest"
)

// A file that is adopted is uploaded from where it is, and then moved: it is not written again. No other test may run at the time.
func TestAnAdoptedFileIsNotWrittenAgain(t *testing.T) {
	const size = 32 << 20
	written := func() (n int) {
		text, err := os.ReadFile("/proc/self/io")
		if err != nil {
			t.Skip(err)
		}
		var read int
		if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\n", &read, &n); err != nil {
			t.Skip(err)
		}
		return n
	}
	remote := newRemote(t)
	s := New(newLocal(t, 0), remote, nil)
	file := filepath.Join(t.TempDir(), "k6")
	if err := os.WriteFile(file, cachetest.Bytes(1, size), 0o600); err != nil {
		t.Fatal(err)
	}
	before := written()
	_, err := s.Put(t.Context(), cachetest.Recipe(1), func(w io.Writer) (k6x.Build, error) {
		return k6x.Build{}, w.(cache.Adopter).Adopt(file, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := written() - before; n > size/8 {
		t.Errorf("%d bytes were written for a file of %d", n, size)
	}
	wantBytes(t, s, 1, size)
	wantBytes(t, remote, 1, size)
	if remote.opens.Load() != 1 { // that of this test
		t.Errorf("%d downloads", remote.opens.Load())
	}
}
