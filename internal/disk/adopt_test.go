package disk

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// The file is another one by the time that it is moved. What its new name leads to stays as it is.
func TestFileThatIsSwappedForALinkIsNotAdopted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links take rights")
	}
	for name, link := range map[string]func(old, new string) error{"symbolic": os.Symlink, "hard": os.Link} {
		dir := t.TempDir()
		from, to, other := filepath.Join(dir, "from"), filepath.Join(dir, "to"), filepath.Join(dir, "other")
		for _, file := range []string{from, to, other} {
			if err := os.WriteFile(file, []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		steps := FS{Fault: func(string, string) error { return errors.Join(os.Remove(from), link(other, from)) }}
		file, err := steps.Adopt(from, to, 0o755)
		if err == nil {
			file.Close()
		}
		if err == nil || errors.Is(err, errors.ErrUnsupported) { // after that the file that was there would be written on
			t.Errorf("%s: got %v", name, err)
		}
		if info, err := os.Stat(other); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: the other file is %v, %v", name, info, err)
		}
	}
}
