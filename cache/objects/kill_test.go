package objects

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"k6x/internal/disk"
)

// A victim is this test binary again, with these variables.
const (
	victimDir  = "K6X_TEST_VICTIM_DIR"
	victimStep = "K6X_TEST_VICTIM_STEP"
)

var victimBody = strings.Repeat("body ", 200_000) // several writes

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		victim(dir)
	}
	os.Exit(m.Run())
}

// victim puts an object until the step that it is told, prints its name and waits for its end.
func victim(dir string) {
	left, err := strconv.Atoi(os.Getenv(victimStep))
	if err == nil {
		var s *Store
		s, err = open(Config{Dir: dir}, disk.FS{Fault: func(step, _ string) error {
			if left--; left == 0 {
				fmt.Println(step)
				select {}
			}
			return nil
		}})
		if err == nil {
			_, err = s.Put(context.Background(), "one", strings.NewReader(victimBody))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func TestKilledAtAnyStepAnObjectIsThereAsAWholeOrNotAtAll(t *testing.T) {
	seen := map[string]int{}
	whole := 0
	for step := 1; !t.Failed(); step++ {
		dir := t.TempDir()
		name := killAt(t, dir, step)
		if name == "" {
			break
		}
		seen[name]++
		s := mustOpen(t, Config{Dir: dir})
		if _, err := s.Get(t.Context(), "one"); errors.Is(err, ErrNotFound) {
			wantEmpty(t, s, 0, 0)
			mustPut(t, s, "one", victimBody)
		} else {
			whole++
		}
		wantBody(t, s, "one", victimBody)
		wantEmpty(t, s, 1, int64(len(victimBody)))
		s.Close()
	}
	for _, name := range []string{"mkdir", "create", "write", "sync", "syncdir", "rename"} {
		if seen[name] == 0 {
			t.Errorf("no victim was killed at a step %s: %v", name, seen)
		}
	}
	if whole == 0 {
		t.Error("no victim was killed after its object had come to its place")
	}
}

// killAt runs a victim and kills it before the given step, whose name it returns; "" if
// there are fewer steps.
func killAt(t *testing.T, dir string, step int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+dir, victimStep+"="+strconv.Itoa(step))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	name, _ := bufio.NewReader(out).ReadString('\n')
	if name == "" {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("the victim failed by itself: %v", err)
		}
		return ""
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	return strings.TrimSpace(name)
}
