package dir

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/cache/internal/disk"
)

func mustOpen(t *testing.T, path string) *Bucket {
	t.Helper()
	b, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucketKeepsTheContract(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return mustOpen(t, filepath.Join(t.TempDir(), "made", "by us")) })
}

func TestBodyIsAFile(t *testing.T) {
	b := mustOpen(t, t.TempDir())
	if err := blob.PutBytes(t.Context(), b, "some", []byte("0123456789"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	body, _, err := b.Open(t.Context(), "some", 4)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	file, ok := body.(*os.File)
	if !ok {
		t.Fatalf("the body is a %T", body)
	}
	if at, err := file.Seek(0, io.SeekCurrent); at != 4 || err != nil {
		t.Errorf("it is at %d, %v", at, err)
	}
}

// The files are where those of the program of before were.
func TestNamesOfFiles(t *testing.T) {
	root := t.TempDir()
	b := mustOpen(t, root)
	for name, file := range map[string]string{
		"artifacts/k/record.json": "artifacts/k/record.json", "a//b": "a/__0x2f__b", "dots../x": "dots..__0x2f__x", "end/": "end__0x2f__", "tab\tx": "tab__0x9__x",
		"__0x2f__": "__0x5f___0x2f__",
	} {
		if err := blob.PutBytes(t.Context(), b, name, []byte("x"), blob.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(file))); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if got := blobtest.Names(t, b, strings.TrimSuffix(name, "/")); len(got) != 1 || got[0] != name {
			t.Errorf("%q is listed as %q", name, got)
		}
	}
}

func TestNamesThatLeaveTheDirectoryAreRefused(t *testing.T) {
	b := mustOpen(t, filepath.Join(t.TempDir(), "bucket"))
	for _, name := range []string{"", ".", "..", "../x", "/etc/passwd", "a/../../x", "lock", ".tmp/x", "./lock", "x/../lock", "nul\x00"} {
		if err := blob.PutBytes(t.Context(), b, name, []byte("x"), blob.PutOptions{}); err == nil {
			if got := blobtest.Names(t, b, ""); len(got) != 1 {
				t.Errorf("%q: listed %q", name, got)
			}
			b.Delete(t.Context(), name)
			continue
		}
		for what, err := range map[string]error{"Delete": b.Delete(t.Context(), name)} {
			if err == nil {
				t.Errorf("%s of %q is no error", what, name)
			}
		}
	}
	entries, err := os.ReadDir(filepath.Dir(b.dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the directory: %v, %v", entries, err)
	}
}

// Each step of a Put fails in turn. What was there stays, and nothing is left.
func TestStepsThatFail(t *testing.T) {
	for _, step := range []string{"create", "write", "sync", "rename", "syncdir"} {
		for _, first := range []bool{false, true} {
			root := t.TempDir()
			broken := errors.New("the disk is broken")
			armed := false
			b, err := open(root, 0, disk.FS{Fault: func(s, _ string) error {
				if armed && s == step {
					return broken
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			if err := blob.PutBytes(t.Context(), b, "dir/old", []byte("old"), blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			armed = true
			name := "dir/old"
			if first {
				name = "dir/new"
			}
			if err := blob.PutBytes(t.Context(), b, name, []byte("new"), blob.PutOptions{IfAbsent: first}); !errors.Is(err, broken) {
				t.Errorf("%s: got %v", step, err)
			}
			armed = false
			if left, err := os.ReadDir(filepath.Join(root, tempName)); err != nil || len(left) > 0 {
				t.Errorf("%s: left %v, %v", step, left, err)
			}
			body, _, err := b.Open(t.Context(), "dir/old", 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			body.Close()
			if want := []byte("old"); err != nil || !bytes.Equal(got, want) && step != "syncdir" { // that one comes after the rename
				t.Errorf("%s: %q, %v", step, got, err)
			}
		}
	}
}

func TestLeftoversOfKilledProcessesGo(t *testing.T) {
	root := t.TempDir()
	mustOpen(t, root)
	old, young := filepath.Join(root, tempName, "old"), filepath.Join(root, tempName, "young")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, root)
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young one: %v", err)
	}
}
