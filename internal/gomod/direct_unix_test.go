//go:build unix

package gomod

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

func mkfifo(t *testing.T, name string) {
	t.Helper()
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDirectIsKilledWithItsChildren(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "go")
	// The child holds the pipe's other end: opening the pipe waits for it, reading the
	// pipe ends with it.
	pipe := filepath.Join(dir, "pipe")
	mkfifo(t, pipe)
	if err := os.WriteFile(script, []byte("#!/bin/sh\nsleep 60 >"+pipe+" &\nwait\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	p, err := NewProxy(ProxyConfig{Go: script, Dir: filepath.Join(dir, "tmp"), Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := p.direct.versions(ctx, "example.com/a")
		if err == nil {
			t.Error("no error although it was killed")
		}
	})
	child, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	cancel()
	wg.Wait()
	if err := child.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := child.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the child lives on: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}
