//go:build unix

package script

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k6x"
)

// Opening a pipe waits for a writer, and reading it leaves nothing for k6.
func TestPipesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.js"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := Analyze(t.Context(), Input{Dir: dir, Path: "pipe.js", With: []string{"top"}})
	if err != nil || len(report.Needs) != 1 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0], "not a regular file") {
		t.Errorf("as the script: %+v, %v", report, err)
	}
	_, err = Analyze(t.Context(), Input{Dir: dir, Path: "-", Stdin: strings.NewReader(`import "./pipe.js"`)})
	if k6x.KindOf(err) != k6x.NotFound || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("as a module: %v", err)
	}
	if os.Geteuid() == 0 {
		return // may read everything
	}
	write(t, filepath.Join(dir, "secret.js"), "")
	if err := os.Chmod(filepath.Join(dir, "secret.js"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Analyze(t.Context(), Input{Dir: dir, Path: "secret.js"}); k6x.KindOf(err) != k6x.Invalid {
		t.Errorf("without permission: %v", err)
	}
}
