package process_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a program that is not written in Go finds is what it would find without a launcher.
func TestSignalsAreAsWithoutALauncher(t *testing.T) {
	const cat = "/bin/cat"
	masks := regexp.MustCompile(`(?m)^Sig(Blk|Ign|Cgt):.*$`)
	read := func(cmd *exec.Cmd) string {
		return strings.Join(masks.FindAllString(output(t, cmd), -1), "\n")
	}
	for _, trap := range []string{":", "trap '' HUP INT"} {
		without := exec.CommandContext(t.Context(), "/bin/sh", "-c", trap+"; exec "+cat+" /proc/self/status")
		with := launcher(t, spec{Path: cat, Args: []string{"/proc/self/status"}})
		with.Args, with.Path = []string{"sh", "-c", trap + `; exec "$0"`, with.Path}, "/bin/sh"
		if got, want := read(with), read(without); got != want || strings.Count(want, "\n") != 2 {
			t.Errorf("%s: %s\nwant %s", trap, got, want)
		}
	}
}

// Ctrl-C on a terminal reaches k6, to which the terminal looks like one.
func TestATerminalStaysOne(t *testing.T) {
	ours, theirs := terminal(t)
	cmd := launcher(t, spec{Args: []string{"wait"}})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	var seen bytes.Buffer
	for buf := make([]byte, 256); !bytes.HasSuffix(seen.Bytes(), []byte("\n")); {
		n, err := ours.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v after %q", err, seen.String())
		}
	}
	want := strconv.Itoa(cmd.Process.Pid) + " terminal=true,true,true foreground=true\r\n"
	if seen.String() != want {
		t.Errorf("%q, want %q", seen.String(), want)
	}
	if _, err := io.WriteString(ours, "\x03"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); exitCode(err) != 40+int(syscall.SIGINT) {
		t.Error(err)
	}
}

// terminal returns both ends of a terminal.
func terminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}
