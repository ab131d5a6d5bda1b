package dir

import (
	"fmt"
	"os"
	"testing"

	"k6x/cache/cachetest"
)

// transferred returns how many bytes this process has read and written, from wherever.
func transferred(t *testing.T) (read, written int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip(err)
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\n", &read, &written); err != nil {
		t.Skip(err)
	}
	return read, written
}

// A file that is adopted is not written again, and is read once, to be hashed. No other test may run at the time.
func TestAnAdoptedFileIsReadOnceAndNotWritten(t *testing.T) {
	s := mustOpen(t, Config{Dir: t.TempDir()})
	const size = 32 << 20
	name := newFile(t, cachetest.Bytes(1, size))
	read, written := transferred(t)
	if _, err := s.Put(t.Context(), cachetest.Recipe(1), adoptFrom(name)); err != nil {
		t.Fatal(err)
	}
	readNow, writtenNow := transferred(t)
	if n := readNow - read; n < size || n > size+size/8 {
		t.Errorf("%d bytes were read of a file of %d", n, size)
	}
	if n := writtenNow - written; n > size/8 {
		t.Errorf("%d bytes were written for a file of %d", n, size)
	}
}
