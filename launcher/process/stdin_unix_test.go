//go:build unix

package process

import (
	"io"
	"os"
	"testing"
)

func TestATemporaryFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	file, err := temporary()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := io.WriteString(file, "script"); err != nil {
		t.Error(err)
	}
	data, err := io.ReadAll(io.NewSectionReader(file, 0, 100))
	if err != nil || string(data) != "script" {
		t.Errorf("%q, %v", data, err)
	}
}
