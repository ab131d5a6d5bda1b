package cachetest

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k6x"
	"k6x/cache"
)

func secondPut(t *testing.T, s cache.Store) {
	data := Bytes(1, 10_000)
	first := put(t, s, Recipe(1), data)
	second, err := s.Put(t.Context(), Recipe(1), func(io.Writer) (k6x.Build, error) {
		t.Error("fill ran, although the artifact is there")
		return k6x.Build{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("second put returned another record (-first +second):\n%s", diff)
	}
	wantBytes(t, s, Recipe(1).Key(), data)
}

// fillFile returns what to give to Put so that a file of data is stored, which is adopted if the store does that.
func fillFile(t testing.TB, data []byte) func(io.Writer) (k6x.Build, error) {
	return func(w io.Writer) (k6x.Build, error) {
		name := filepath.Join(t.TempDir(), "k6")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return k6x.Build{}, err
		}
		to, ok := w.(cache.Adopter)
		if !ok {
			return Fill(data)(w)
		}
		err := to.Adopt(name, digest(data))
		_, left := os.Lstat(name)
		switch {
		case errors.Is(err, errors.ErrUnsupported) && left == nil:
			return Fill(data)(w)
		case err == nil && left == nil:
			return k6x.Build{}, errors.New("a file that was adopted is where it was")
		case err != nil:
			return k6x.Build{}, err
		}
		return build(), nil
	}
}

func filePut(t *testing.T, s cache.Store) {
	data := Bytes(1, 300_000)
	artifact, err := s.Put(t.Context(), Recipe(1), func(w io.Writer) (k6x.Build, error) {
		if to, ok := w.(cache.Adopter); ok {
			if err := to.Adopt(filepath.Join(t.TempDir(), "nothing"), ""); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("a file that is not there: %v", err)
			}
		}
		return fillFile(t, data)(w)
	})
	if err != nil {
		t.Fatal(err)
	}
	if artifact.Digest != digest(data) || artifact.Size != int64(len(data)) {
		t.Errorf("record says digest %s, size %d", artifact.Digest, artifact.Size)
	}
	wantBytes(t, s, Recipe(1).Key(), data)
	wantRecord(t, s, Recipe(1).Key(), artifact)
}

func overtakenPut(t *testing.T, s cache.Store) {
	for n, late := range map[int][]byte{1: Bytes(1, 10_000), 2: Bytes(2, 10_000)} {
		data := Bytes(1, 10_000)
		var inner k6x.Artifact
		outer, err := s.Put(t.Context(), Recipe(n), func(w io.Writer) (k6x.Build, error) {
			inner = put(t, s, Recipe(n), data)
			return Fill(late)(w)
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(inner, outer); diff != "" {
			t.Errorf("the put that came late returned another record (-first +late):\n%s", diff)
		}
		wantBytes(t, s, Recipe(n).Key(), data)
		wantRecord(t, s, Recipe(n).Key(), inner)
	}
}

func concurrentPuts(t *testing.T, s cache.Store) {
	const writers = 8
	var inFill, done sync.WaitGroup
	inFill.Add(writers)
	results := make([]k6x.Artifact, writers)
	for n := range writers {
		done.Go(func() {
			artifact, err := s.Put(t.Context(), Recipe(1), func(w io.Writer) (k6x.Build, error) {
				inFill.Done()
				inFill.Wait() // all run before one is stored
				return Fill(Bytes(uint64(n), 50_000))(w)
			})
			if err != nil {
				t.Errorf("Put: %v", err)
			}
			results[n] = artifact
		})
	}
	done.Wait()
	for n := range results {
		if diff := cmp.Diff(results[0], results[n]); diff != "" {
			t.Errorf("two puts returned different records:\n%s", diff)
		}
	}
	if got := digest(read(t, s, Recipe(1).Key())); got != results[0].Digest {
		t.Errorf("bytes have digest %s, record says %s", got, results[0].Digest)
	}
}

func failingFill(t *testing.T, s cache.Store) {
	fault := errors.New("the engine failed")
	_, err := s.Put(t.Context(), Recipe(1), func(w io.Writer) (k6x.Build, error) {
		if _, err := w.Write(Bytes(1, 100_000)); err != nil {
			t.Errorf("Write: %v", err)
		}
		return k6x.Build{}, fault
	})
	if err != fault {
		t.Errorf("got error %v, want that of fill as it is", err)
	}
	wantNothing(t, s, Recipe(1))
}

func emptyFill(t *testing.T, s cache.Store) {
	_, err := s.Put(t.Context(), Recipe(1), Fill(nil))
	wantKind(t, "Put of nothing", err, k6x.Internal)
	wantNothing(t, s, Recipe(1))
}

func canceled(t *testing.T, s cache.Store) {
	t.Run("before", func(t *testing.T) {
		_, err := s.Put(canceledContext(t), Recipe(1), Fill([]byte("binary")))
		wantError(t, "Put", err, context.Canceled)
		wantNothing(t, s, Recipe(1))
	})
	t.Run("while writing", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Put(ctx, Recipe(2), func(w io.Writer) (k6x.Build, error) {
			if _, err := w.Write([]byte("half of ")); err != nil {
				t.Errorf("Write: %v", err)
			}
			cancel()
			_, err := w.Write([]byte("a binary"))
			wantError(t, "Write after cancel", err, context.Canceled)
			return build(), nil
		})
		wantError(t, "Put", err, context.Canceled)
		wantNothing(t, s, Recipe(2))
	})
	t.Run("after the last byte", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := s.Put(ctx, Recipe(3), func(w io.Writer) (k6x.Build, error) {
			defer cancel()
			return Fill([]byte("binary"))(w)
		})
		wantError(t, "Put", err, context.Canceled)
		wantNothing(t, s, Recipe(3))
	})
	t.Run("with an error of fill", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		fault := k6x.Errorf(k6x.Timeout, "the build took too long")
		_, err := s.Put(ctx, Recipe(4), func(w io.Writer) (k6x.Build, error) {
			cancel()
			if _, err := w.Write([]byte("binary")); err == nil {
				t.Error("Write after cancel: no error")
			}
			return k6x.Build{}, fault
		})
		wantError(t, "Put", err, fault)
		wantNothing(t, s, Recipe(4))
	})
	t.Run("other methods", func(t *testing.T) {
		put(t, s, Recipe(5), []byte("binary"))
		_, err := s.Open(canceledContext(t), Recipe(5).Key())
		wantError(t, "Open", err, context.Canceled)
		const path = "/linux/amd64/k6@v1.8.1"
		_, err = s.Bind(canceledContext(t), path, Recipe(5).Key())
		wantError(t, "Bind", err, context.Canceled)
		_, err = s.Lookup(t.Context(), path)
		wantError(t, "Lookup", err, cache.ErrNotFound)
	})
}
