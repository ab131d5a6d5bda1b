package gomod

import (
	"os"
	"path/filepath"
	"testing"

	"k6x"
)

func TestNetrcThatIsTornOrNotThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".netrc")
	for _, data := range []string{"machine", "machine x login"} {
		if err := os.WriteFile(file, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readNetrc(file); err != nil && k6x.KindOf(err) != k6x.Invalid {
			t.Errorf("%q: %v", data, err)
		}
	}
	if n, err := readNetrc(filepath.Join(t.TempDir(), "none")); n != nil || err != nil {
		t.Errorf("no netrc file: %v, %v", n, err)
	}
}
