//go:build unix

package cli

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is no file stays what it is, also behind a link, and gets the bytes.
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
		reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which waits for no writer
		if err != nil {
			t.Fatal(err)
		}
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
		if err != nil {
			t.Error(err)
		}
		if text, err := io.ReadAll(reader); err != nil || string(text) != "bytes" {
			t.Errorf("%s got %q, %v", name, text, err)
		}
		reader.Close()
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
