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
		changed     bool
	}{
		{"once", ":", false},
		{"read later", "cat file", false},
		{"twice", "echo more >>file", true},
		{"cut", "truncate -s 1 file", true},
		{"another in its place", "mv other file", true},
		{"by another name", "ln file name; echo more >>name; rm name", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			name := filepath.Join(dir, "file")
			closed, stop := WatchClose(name)
			if closed == nil {
				t.Skip("SKIPPED: the system does not tell, as too many are watching")
			}
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
			if changed := stop(); changed != c.changed {
				t.Errorf("changed: %v", changed)
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
		t.Error("changed")
	}
	select {
	case <-closed:
		t.Error("it is told")
	default:
	}
}
