package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// world is what measurements share: programs, a directory, and the servers that run.
type world struct {
	count   int  // rounds
	short   bool // sizes are small
	log     io.Writer
	dir     string // removed at the end
	source  string // of the module k6x
	self    string // this program, which is a file server too
	k6x     string
	servers []*server
	builds  *building // nil: nothing was built yet
}

// newWorld builds what is measured.
func newWorld(ctx context.Context, count int, short bool, log io.Writer) (*world, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "k6x-bench-")
	if err != nil {
		return nil, err
	}
	w := &world{count: count, short: short, log: log, dir: dir, self: self, k6x: filepath.Join(dir, "k6x")}
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k6x").Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find the source of k6x: %w", err), w.close())
	}
	w.source = strings.TrimSpace(string(module))
	out, err := exec.CommandContext(ctx, "go", "build", "-o", w.k6x, "k6x/cmd/k6x").CombinedOutput()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build k6x: %w\n%s", err, out), w.close())
	}
	return w, nil
}

// pick returns full, or small if sizes are to be small.
func pick[T any](w *world, full, small T) T {
	if w.short {
		return small
	}
	return full
}

// temp returns a new directory.
func (w *world) temp(name string) (string, error) { return os.MkdirTemp(w.dir, name+"-") }

func (w *world) close() error {
	w.stopServers()
	if w.builds != nil {
		w.builds.modules.Close()
	}
	return removeAll(w.dir)
}

// removeAll removes a directory with a module cache in it, which is read-only.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o755)
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// rounds calls measure for each subject in each round. What was last in one round is first
// in the next, so that no subject always comes after the same one.
func rounds[T any](w *world, subjects []T, measure func(T) error) error {
	for round := range w.count {
		for i := range subjects {
			if err := measure(subjects[(i+len(subjects)-round%len(subjects))%len(subjects)]); err != nil {
				return err
			}
		}
	}
	return nil
}
