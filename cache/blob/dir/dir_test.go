package dir

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"k6x/cache/blob"
	"k6x/cache/blob/blobtest"
	"k6x/internal/disk"
)

func mustOpen(t *testing.T, path string) *Bucket {
	t.Helper()
	b, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b
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
	if err := os.Mkdir(filepath.Join(root, tempName), 0o755); err != nil {
		t.Fatal(err)
	}
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

// Opening writes nothing, so that it can be done where nothing can be written.
func TestDirectoryThatCanOnlyBeRead(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "some"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(root, 0o755) })
	b := mustOpen(t, root)
	body, _, err := b.Open(t.Context(), "some", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); string(data) != "x" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	if entries, err := os.ReadDir(root); len(entries) != 1 || err != nil {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
}

// Another process may have made a directory and not have come to making it durable.
func TestDirectoryThatExistsIsMadeDurable(t *testing.T) {
	root := t.TempDir()
	var synced []string
	b, err := open(root, 0, disk.FS{Fault: func(step, name string) error {
		if step == "syncdir" {
			synced = append(synced, name)
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(root, "parent")
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := blob.PutBytes(t.Context(), b, "parent/some", []byte("x"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{root, parent}; !slices.Equal(synced, want) {
		t.Errorf("made durable: %q, want %q", synced, want)
	}
}

// No file can be moved from one file system to the other.
func TestAnotherFileSystemInside(t *testing.T) {
	root := t.TempDir()
	mounted := filepath.Join(root, "mounted")
	var from []string // the directories of files that are written
	b, err := open(root, 0, disk.FS{Fault: func(step, name string) error {
		switch {
		case step == "create":
			from = append(from, filepath.Dir(name))
		case step == "rename" && filepath.Dir(name) == mounted && from[len(from)-1] != mounted:
			return &os.LinkError{Op: "rename", Old: "old", New: name, Err: syscall.EXDEV}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, first := range []bool{true, false} {
		if err := blob.PutBytes(t.Context(), b, "mounted/some", []byte("x"), blob.PutOptions{IfAbsent: first}); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]int{mounted: 1, filepath.Join(root, tempName): 0} {
		if entries, err := os.ReadDir(dir); len(entries) != want || err != nil {
			t.Errorf("%s has %v, %v", dir, entries, err)
		}
	}
	old, young := filepath.Join(mounted, beside+"old"), filepath.Join(mounted, beside+"young")
	for _, name := range []string{old, young} {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := blob.PutBytes(t.Context(), b, beside+"young", []byte("y"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := blobtest.Names(t, b, ""); !slices.Equal(got, []string{beside + "young", "mounted/some"}) {
		t.Errorf("listed %q", got)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left long ago: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("what may be on its way: %v", err)
	}
}

func TestADirectoryIsMadeByTheFirstPut(t *testing.T) {
	where := filepath.Join(t.TempDir(), "a", "b")
	b, err := Open(where, 0)
	if err != nil {
		t.Fatal(err)
	}
	for info, err := range b.List(t.Context(), "") {
		t.Errorf("%v, %v in a directory that is not there", info, err)
	}
	if _, err := b.Stat(t.Context(), "name"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(where)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looking made it: %v", err)
	}
	if err := blob.PutBytes(t.Context(), b, "name", []byte("bytes"), blob.PutOptions{IfAbsent: true}); err != nil {
		t.Error(err)
	}
	if data, err := blob.ReadAll(t.Context(), b, "name", 10); err != nil || string(data) != "bytes" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := Open(filepath.Join(where, "name"), 0); err == nil {
		t.Error("a file was opened as a directory")
	}
}
