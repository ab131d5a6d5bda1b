package workdir

import (
	"context"
	"errors"
	"testing"
	"time"

	"k6x/gotool"
)

// Two engines of one process on one directory: what trims waits for builds of both, and does not take the other one for another process.
func TestTrimmingWaitsForTheHostBeside(t *testing.T) {
	dir := t.TempDir()
	first := &Host{Tool: new(gotool.Tool)}
	if err := first.Open(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second := &Host{Tool: new(gotool.Tool), Cache: "other", Beside: first}
	if err := second.Open(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	leave, err := second.Enter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := first.Exclusive(short, func() error { t.Error("it was trimmed while a build ran"); return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want to have waited", err)
	}
	leave()
	if err := first.Exclusive(t.Context(), func() error { return nil }); err != nil {
		t.Error(err)
	}
}
