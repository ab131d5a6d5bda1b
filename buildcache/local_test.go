package buildcache

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func newLocal(t *testing.T) *local {
	t.Helper()
	n, err := openLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func keep(t *testing.T, n *local, x sample) {
	t.Helper()
	if err := n.add(x.output, int64(len(x.body)), strings.NewReader(x.body)); err != nil {
		t.Fatal(err)
	}
	if err := n.bind(x.action, x.output, int64(len(x.body))); err != nil {
		t.Fatal(err)
	}
}

// files returns the regular files below dir but those of the go command's housekeeping.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "README" && d.Name() != "trim.txt" {
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhatIsDamagedIsAMiss(t *testing.T) {
	x := makeSample("x", 1000)
	for name, damage := range map[string]func(n *local) error{
		"no action":    func(n *local) error { return os.Remove(n.action(x.action)) },
		"no body":      func(n *local) error { return os.Remove(n.output(x.output)) },
		"short body":   func(n *local) error { return os.Truncate(n.output(x.output), 999) },
		"empty action": func(n *local) error { return os.Truncate(n.action(x.action), 0) },
		"short action": func(n *local) error { return os.Truncate(n.action(x.action), lineSize-1) },
		"long action":  func(n *local) error { return os.Truncate(n.action(x.action), lineSize+1) },
		"other action": func(n *local) error {
			return os.WriteFile(n.action(x.action), []byte(formatLine(x.output, Entry{Output: x.output, Size: 1000, Time: time.Now()})), 0o644)
		},
		"negative size": func(n *local) error {
			return os.WriteFile(n.action(x.action), []byte(formatLine(x.action, Entry{Output: x.output, Size: -1, Time: time.Now()})), 0o644)
		},
		"action directory": func(n *local) error {
			return errors.Join(os.Remove(n.action(x.action)), os.Mkdir(n.action(x.action), 0o755))
		},
		"body directory": func(n *local) error {
			return errors.Join(os.Remove(n.output(x.output)), os.Mkdir(n.output(x.output), 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newLocal(t)
			keep(t, n, x)
			if _, err := n.get(x.action); err != nil {
				t.Fatal(err)
			}
			if err := damage(n); err != nil {
				t.Fatal(err)
			}
			if _, err := n.get(x.action); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWrongBodiesAreRefusedAndLeaveNothing(t *testing.T) {
	x := makeSample("x", 1000)
	n := newLocal(t)
	for name, err := range map[string]error{
		"other":  n.add(x.output, 1000, strings.NewReader(strings.Repeat("y", 1000))),
		"short":  n.add(x.output, 1000, strings.NewReader(x.body[1:])),
		"long":   n.add(x.output, 1000, strings.NewReader(x.body+" ")),
		"broken": n.add(x.output, 1000, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(x.body)))),
	} {
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if list := files(t, n.dir); len(list) != 0 {
		t.Errorf("left %v", list)
	}
}

func TestAFullDiskLeavesNothingHalf(t *testing.T) {
	x := makeSample("x", 1000)
	full := errors.New("no space left")
	for step := range 6 { // create, write and rename, of body and action
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			n := newLocal(t)
			left := step
			n.disk.Fault = func(string, string) error {
				if left--; left < 0 {
					return full
				}
				return nil
			}
			err := n.add(x.output, 1000, strings.NewReader(x.body))
			if err == nil {
				err = n.bind(x.action, x.output, 1000)
			}
			if !errors.Is(err, full) {
				t.Fatalf("got %v", err)
			}
			if _, err := n.get(x.action); err == nil {
				t.Error("a hit of what was not written")
			}
			for _, name := range files(t, n.dir) {
				if name != n.output(x.output) || n.verify(x.output, 1000) != nil {
					t.Errorf("left %s", name)
				}
			}
		})
	}
}

func TestADamagedBodyIsReplacedByTheNextPut(t *testing.T) {
	x := makeSample("x", 1000)
	n := newLocal(t)
	keep(t, n, x)
	if err := os.WriteFile(n.output(x.output), []byte(strings.Repeat("y", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	keep(t, n, x)
	if err := n.verify(x.output, 1000); err != nil {
		t.Error(err)
	}
}

func TestLeftoversOfTheDeadAreRemovedAndThoseOfTheLivingAreNot(t *testing.T) {
	n := newLocal(t)
	old, young := filepath.Join(n.temp, "old"), filepath.Join(n.temp, "young")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Now(), time.Now().Add(-2*tempAge)); err != nil {
		t.Fatal(err)
	}
	if _, err := openLocal(n.dir); err != nil {
		t.Fatal(err)
	}
	if list := files(t, n.dir); len(list) != 1 || list[0] != young {
		t.Errorf("left %v", list)
	}
}

func TestUseIsNotedForTrimming(t *testing.T) {
	x := makeSample("x", 1000)
	n := newLocal(t)
	keep(t, n, x)
	old := time.Now().Add(-3 * time.Hour)
	for _, name := range []string{n.action(x.action), n.output(x.output)} {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.get(x.action); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{n.action(x.action), n.output(x.output)} {
		if info, err := os.Stat(name); err != nil || time.Since(info.ModTime()) > time.Hour {
			t.Errorf("%s was not touched: %v", name, err)
		}
	}
}

// putForever is a process that writes until it is killed; each line that it prints is one entry.
func putForever(dir string) {
	n, err := openLocal(dir)
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		x := makeSample(fmt.Sprint(i%50), 1<<20)
		if err := n.add(x.output, 1<<20, strings.NewReader(x.body)); err != nil {
			panic(err)
		}
		if err := n.bind(x.action, x.output, 1<<20); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

func TestAKilledProcessLeavesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	for range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "put-forever", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 7 {
			if !lines.Scan() {
				t.Fatalf("it ended: %v", lines.Err())
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		n, err := openLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		entries := 0
		err = n.each(t.Context(), func(_ ID, e Entry) error {
			entries++
			return n.verify(e.Output, e.Size)
		})
		if err != nil || entries < 7 {
			t.Errorf("%d entries, %v", entries, err)
		}
		for _, name := range files(t, dir) { // bodies without an action too
			if id, ok := strings.CutSuffix(filepath.Base(name), "-d"); ok {
				if output, err := ParseID(id); err != nil || n.verify(output, 1<<20) != nil {
					t.Errorf("%s is damaged", name)
				}
			}
		}
	}
}
