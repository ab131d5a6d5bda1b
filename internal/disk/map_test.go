package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestMap(t *testing.T) {
	want := bytes.Repeat([]byte("k6x "), 100_000)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, want, 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, release, err := Map(file, int64(len(want)))
	if err != nil || !bytes.Equal(data, want) {
		t.Fatal(len(data), err)
	}
	if runtime.GOOS != "windows" { // which reads it
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
		func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			defer func() {
				if recover() == nil {
					t.Error("there are bytes of a file that is empty")
				}
			}()
			_ = bytes.Equal(data, want)
		}()
	}
	release()
}
