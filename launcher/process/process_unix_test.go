//go:build unix

package process_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"k6x"
	"k6x/launcher/process"
)

// A launcher is this test binary again, with a [process.Process] in this variable. What it
// becomes is this test binary too, by the name of k6.
const specVariable = "K6X_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Args[0] == "k6" {
		os.Exit(k6(os.Args[1:]))
	}
	if spec := os.Getenv(specVariable); spec != "" {
		os.Exit(launch(spec))
	}
	os.Exit(m.Run())
}

type spec struct {
	Path      string
	Args, Env []string
	Stdin     string // a file with it
	Lock      string // a file that the launcher holds locked
}

// launch does as a launcher does: it uses files, a network and signals, and then becomes k6.
func launch(text string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	var s spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	lock := flock.New(s.Lock)
	if held, err := lock.TryLock(); s.Lock != "" && (err != nil || !held) {
		panic(fmt.Sprint("not locked: ", err))
	}
	p := process.Process{Path: s.Path, Args: s.Args, Env: s.Env}
	if s.Stdin != "" {
		if p.Stdin, err = os.ReadFile(s.Stdin); err != nil {
			panic(err)
		}
	}
	code, err := process.Run(ctx, p)
	fmt.Fprintf(os.Stderr, "%d, %v: %v", code, k6x.KindOf(err), err)
	return 99
}

// k6 does what its first argument says.
func k6(args []string) int {
	switch args[0] {
	case "exit":
		return 107
	case "arguments":
		fmt.Printf("%q", args[1:])
	case "environment":
		fmt.Printf("%q", os.Environ())
	case "stdin":
		hash := sha256.New()
		n, err := io.Copy(hash, os.Stdin)
		fmt.Printf("%d %x %v", n, hash.Sum(nil), err)
	case "descriptors":
		fmt.Print(inheritable())
	case "ignored":
		fmt.Print(signal.Ignored(syscall.SIGINT), signal.Ignored(syscall.SIGHUP), signal.Ignored(syscall.SIGTERM))
	case "lock":
		held, err := flock.New(args[1]).TryLock()
		fmt.Print(held, err)
	case "wait":
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
		fmt.Printf("%d terminal=%v,%v,%v foreground=%v\n", os.Getpid(), term.IsTerminal(0), term.IsTerminal(1), term.IsTerminal(2),
			err == nil && group == unix.Getpgrp())
		return 40 + int((<-signals).(syscall.Signal))
	}
	return 0
}

// inheritable returns the open descriptors that are not closed on exec, as Go's own are.
func inheritable() (fds []int) {
	for fd := range 1024 {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			fds = append(fds, fd)
		}
	}
	return fds
}

// launcher returns a command that becomes what s says; this test binary if s has no path.
func launcher(t *testing.T, s spec) *exec.Cmd {
	t.Helper()
	if s.Path == "" {
		s.Path = self(t)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self(t))
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", specVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	return cmd
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

func TestExitCodeIsThatOfK6(t *testing.T) {
	if err := launcher(t, spec{Args: []string{"exit"}}).Run(); exitCode(err) != 107 {
		t.Error(err)
	}
}

func TestArgumentsAreLeftAsTheyAre(t *testing.T) {
	args := []string{"arguments", "", "a b", "--", "\n", "ü\t*"}
	if got, want := output(t, launcher(t, spec{Args: args})), fmt.Sprintf("%q", args[1:]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestEnvironmentIsExactlyTheOneGiven(t *testing.T) {
	env := []string{"B=2", "A=", "C=a b\nc=d"}
	if got, want := output(t, launcher(t, spec{Args: []string{"environment"}, Env: env})), fmt.Sprintf("%q", env); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestEnvironmentIsInherited(t *testing.T) {
	cmd := launcher(t, spec{Args: []string{"environment"}})
	if got, want := output(t, cmd), fmt.Sprintf("%q", cmd.Env[len(cmd.Env)-1]); !strings.Contains(got, want) {
		t.Errorf("%s has no %s", got, want)
	}
}

func TestStdinIsPassedOn(t *testing.T) {
	cmd := launcher(t, spec{Args: []string{"stdin"}})
	data := bytes.Repeat([]byte("script\n"), 100_000)
	cmd.Stdin = bytes.NewReader(data) // a pipe
	if got, want := output(t, cmd), fmt.Sprintf("%d %x <nil>", len(data), sha256.Sum256(data)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestStdinIsGivenAgain(t *testing.T) {
	for _, data := range [][]byte{{}, []byte("export default function () {}"), bytes.Repeat([]byte("0123456789"), 500_000)} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		defer write.Close() // until then it does not end: who reads it waits
		file := filepath.Join(t.TempDir(), "stdin")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := launcher(t, spec{Args: []string{"stdin"}, Stdin: file})
		cmd.Stdin = read
		if got, want := output(t, cmd), fmt.Sprintf("%d %x <nil>", len(data), sha256.Sum256(data)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestSignalsReachK6(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := launcher(t, spec{Args: []string{"wait"}})
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(stdout, &pid); err != nil || pid != cmd.Process.Pid {
			t.Errorf("process %d became %d, %v", cmd.Process.Pid, pid, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); exitCode(err) != 40+int(sig) {
			t.Errorf("%s: %v", sig, err)
		}
	}
}

// A shell ignores signals for what it runs in the background, nohup for what shall survive it.
func TestSignalsThatWereIgnoredStaySoAndOthersDoNotBecomeSo(t *testing.T) {
	// These tests may be run by a shell or a nohup, too.
	inherited := [3]bool{signal.Ignored(syscall.SIGINT), signal.Ignored(syscall.SIGHUP), signal.Ignored(syscall.SIGTERM)}
	for trap, ignored := range map[string][3]bool{"trap '' INT HUP": {true, true, false}, "trap '' HUP": {false, true, false}, ":": {}} {
		for i := range ignored {
			ignored[i] = ignored[i] || inherited[i]
		}
		want := fmt.Sprint(ignored[0], ignored[1], ignored[2])
		cmd := launcher(t, spec{Args: []string{"ignored"}})
		cmd.Args = []string{"sh", "-c", trap + `; exec "$0"`, cmd.Path}
		cmd.Path = "/bin/sh"
		if got := output(t, cmd); got != want {
			t.Errorf("%s: %s, want %s", trap, got, want)
		}
	}
}

func TestLimitOfOpenFilesIsTheInherited(t *testing.T) {
	cmd := launcher(t, spec{Path: "/bin/sh", Args: []string{"-c", "ulimit -Sn"}})
	cmd.Args = []string{"sh", "-c", `ulimit -Sn 200; exec "$0"`, cmd.Path}
	cmd.Path = "/bin/sh"
	if got := output(t, cmd); got != "200\n" {
		t.Error(got)
	}
}

func TestDescriptorsAreTheInherited(t *testing.T) {
	ambient := inheritable()                              // of whoever runs this test
	for _, more := range [][]*os.File{nil, {os.Stderr}} { // as in k6x run 3>file
		cmd := launcher(t, spec{Args: []string{"descriptors"}, Stdin: "/dev/null"})
		cmd.ExtraFiles = more
		var want, got []int
		for fd := range 3 + len(more) {
			want = append(want, fd)
		}
		for word := range strings.FieldsSeq(strings.Trim(output(t, cmd), "[]")) {
			fd, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			if fd < len(want) || !slices.Contains(ambient, fd) {
				got = append(got, fd)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
}

// The executable may go while it runs, so nothing has to stay locked; and nothing does.
func TestLocksEnd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	if got := output(t, launcher(t, spec{Args: []string{"lock", file}, Lock: file})); got != "true <nil>" {
		t.Error(got)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		spec spec
		kind k6x.Kind
		want string
	}{
		{spec{Path: filepath.Join(dir, "missing")}, k6x.NotFound, "missing is not there"},
		{spec{Path: write("mode", "", 0o600)}, k6x.Forbidden, "mode may not be executed"},
		{spec{Path: dir}, k6x.Forbidden, "may not be executed"},
		{spec{Path: write("format", "GIF89a", 0o700)}, k6x.Invalid, "format is not a program for this machine"},
		{spec{Path: write("loader", "#!/does/not/exist\n", 0o700)}, k6x.Invalid, "loader needs a loader that is not on this machine"},
		{spec{Path: self(t), Args: []string{strings.Repeat("a", 8<<20)}}, k6x.Invalid, "too long for k6"},
		{spec{Path: self(t), Args: []string{"\x00"}}, k6x.Internal, "cannot be started: invalid argument"},
	} {
		released := false
		_, err := process.Run(t.Context(), process.Process{Path: test.spec.Path, Args: test.spec.Args, Release: func() { released = true }})
		if err == nil || k6x.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) || !released {
			t.Errorf("%v, %v (released: %v), want %v, %s", k6x.KindOf(err), err, released, test.kind, test.want)
		}
	}
}

func TestAnEndedContextKeepsK6FromStarting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	released := false
	_, err := process.Run(ctx, process.Process{Path: self(t), Release: func() { released = true }})
	if k6x.KindOf(err) != k6x.Canceled || !errors.Is(err, context.Canceled) || !released {
		t.Error(err, released)
	}
}
