package main

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

func TestMemoryWithChildrenCountsThem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: only Linux tells")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := newTestWorld(t, nil)
	s, err := w.start("", exec.Command(self, serveFiles, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	// Both may grow between two looks, but never shrink.
	own, child := memory(os.Getpid(), "VmHWM"), s.peak()
	if all := treeMemory(os.Getpid()); child <= 0 || own <= 0 || all < own+child {
		t.Errorf("%v MB of %v and its child of %v", all, own, child)
	}
	if none := treeMemory(1 << 30); none != 0 {
		t.Errorf("a process that is not there has %v MB", none)
	}
}

func TestAMaximumKeepsTheLargest(t *testing.T) {
	var m maximum
	for _, x := range []float64{1, 3, 2} {
		m.raise(x)
	}
	if m.get() != 3 {
		t.Errorf("%v is not the largest", m.get())
	}
}
