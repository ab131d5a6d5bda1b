//go:build unix

package cli

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is no file stays what it is, also behind a link, and gets the bytes; a place for them that is a file keeps its name until they are complete.
func TestAnOutputIsWrittenIntoAPipe(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, link} {
		got := make(chan string, 1)
		go func() {
			text, err := os.ReadFile(pipe)
			if err != nil {
				t.Error(err)
			}
			got <- string(text)
		}()
		out, err := CreateOutput(name, "output")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Discard()
		// What a download does that begins anew.
		if _, err = out.Write([]byte("wrong bytes")); err == nil {
			err = out.Truncate(0)
		}
		if err == nil {
			_, err = out.Seek(0, io.SeekStart)
		}
		if err == nil {
			_, err = out.Write([]byte("bytes"))
		}
		if err == nil {
			err = out.Chmod(0o644)
		}
		if err == nil {
			err = out.Commit()
		}
		if text := <-got; err != nil || text != "bytes" {
			t.Errorf("%s got %q, %v", name, text, err)
		}
		if info, err := os.Stat(pipe); err != nil || info.Mode() != os.ModeNamedPipe|0o600 {
			t.Errorf("%s has become %v, %v", pipe, info.Mode(), err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Error(left, err)
	}
}

// A socket cannot be written as a file.
func TestAnOutputThatCannotBeOpenedIsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		defer syscall.Close(fd)
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: "socket"})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CreateOutput("socket", "output"); err == nil {
		t.Error("no error")
	}
	if info, err := os.Lstat("socket"); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Error(info, err)
	}
}
