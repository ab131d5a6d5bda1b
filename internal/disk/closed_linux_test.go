package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestWatchCloseTellsWhenAFileIsWrittenAndWhetherThatWasAll(t *testing.T) {
	for _, c := range []struct {
		name, after string
		again       bool
	}{
		{"once", ":", false},
		{"read later", "cat file", false},
		{"another file", "echo more >>other", false},
		{"twice", "echo more >>file", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			name := filepath.Join(dir, "file")
			closed, stop := WatchClose(name)
			cmd := exec.Command("sh", "-c", "echo early >other; exec 3>file; echo some >&3; exec 3>&-; read go; "+c.after)
			cmd.Dir = dir
			stdin, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-closed:
			case <-time.After(time.Minute):
				t.Fatal("it is not told")
			}
			if data, err := os.ReadFile(name); string(data) != "some\n" || err != nil {
				t.Errorf("it has %q, %v", data, err)
			}
			stdin.Close()
			_ = cmd.Wait() // read found the end
			if again := stop(); again != c.again {
				t.Errorf("closed again: %v", again)
			}
		})
	}
	closed, stop := WatchClose(filepath.Join(t.TempDir(), "nothing", "file"))
	if closed != nil || stop() {
		t.Error("a directory that is not there is watched")
	}
}

func TestWatchCloseEndsWithoutTheFile(t *testing.T) {
	closed, stop := WatchClose(filepath.Join(t.TempDir(), "file"))
	if stop() {
		t.Error("closed again")
	}
	select {
	case <-closed:
		t.Error("it is told")
	default:
	}
}
