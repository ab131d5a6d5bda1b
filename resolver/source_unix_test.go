//go:build unix

package resolver

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k6x"
)

func mkfifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRegistryThatIsAPipeIsRefused(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "registry.json")
	mkfifo(t, pipe)
	done := make(chan error, 1)
	go func() {
		_, err := New(t.Context(), Config{Dir: t.TempDir(), Registries: []string{pipe}})
		done <- err
	}()
	select {
	case err := <-done:
		if k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("New waits for someone to write to the pipe")
	}
}
