package dir

import (
	"bytes"
	"io"
	"testing"

	"k6x"
	"k6x/cache/cachetest"
)

// wantBytes checks that the n-th artifact can be read and is what mustPut stores.
func wantBytes(t testing.TB, s *Store, n, size int) {
	t.Helper()
	entry, err := s.Open(t.Context(), key(n))
	if err != nil {
		t.Errorf("Open of artifact %d: %v", n, err)
		return
	}
	defer entry.Close()
	got, err := io.ReadAll(entry.Body)
	if err != nil || !bytes.Equal(got, cachetest.Bytes(uint64(n), size)) {
		t.Errorf("artifact %d: %d bytes, %v", n, len(got), err)
	}
}

// hideErrors returns a fill that passes over errors of its writer and returns result.
func hideErrors(result error) func(io.Writer) (k6x.Build, error) {
	return func(w io.Writer) (k6x.Build, error) {
		w.Write([]byte("one"))
		w.Write([]byte("two"))
		return k6x.Build{}, result
	}
}

func panicking(w io.Writer) (k6x.Build, error) {
	w.Write([]byte("half"))
	panic("a bug in the engine")
}
