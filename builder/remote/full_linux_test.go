package remote

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"k6x"
)

// NATS writes nothing more once a disk was full. The service has it start anew with what it keeps, and workers build meanwhile.
func TestTheDiskOfNATSIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(r *rig) {
		dir := filepath.Join(r.dir, "nats")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
			t.Skipf("SKIPPED: no small file system can be mounted here: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	})
	w := r.work("w1", 1, nil)
	ballast := filepath.Join(r.dir, "nats", "ballast")
	_ = os.WriteFile(ballast, make([]byte, 2<<20), 0o600) // as much as there is room for
	register := func(name string) error {
		_, err := r.hub.Register(t.Context(), Registration{Name: name, Instance: "x", Wire: Wire})
		return err
	}
	var err error
	for n := 0; err == nil; n++ {
		err = register("x" + strconv.Itoa(n))
	}
	if k6x.KindOf(err) != k6x.Unavailable {
		t.Error(err)
	}
	if err := r.wait(r.build(r.recipe("hello@v0.1.0"))); err != nil || w.builds.Load() != 1 {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.until("workers are let in", func() bool { return register("w2") == nil })
	if err := r.hub.Change(t.Context(), "w1", "drain"); err != nil {
		t.Error(err)
	}
	r.stop()
	r.start()
	if w := r.working("w1"); w.State != string(Drained) || r.working("x0").Name == "" {
		t.Errorf("after a restart it has forgotten what it was told: %+v", w)
	}
}
