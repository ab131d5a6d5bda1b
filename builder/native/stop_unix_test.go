//go:build unix

package native

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k6x"
	"k6x/builder"
	"k6x/builder/internal/workdir"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/testmod"
)

// wrapped returns the configuration of an engine that knows nothing yet, with a shell script in the place of the go command,
// which is $GO in it. The script's directory is $DIR.
func wrapped(t *testing.T, script string) Config {
	t.Helper()
	tool := standinTool(t, testmod.Serve(t, "../../testdata/standin"))
	dir := t.TempDir()
	script = "#!/bin/sh\nGO=" + tool.Path + " DIR=" + dir + "\n" + script + "\n"
	tool.Path = filepath.Join(dir, "go")
	if err := os.WriteFile(tool.Path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{Tool: tool, Dir: emptyDir(t), Cage: new(cage.Cage)}
}

// pipeOf returns the reading end of a named pipe beside the script of a tool. Up is closed when something is written to it, gone
// when none has it open any more that had it open then.
func pipeOf(t *testing.T, tool *gotool.Tool) (up, gone <-chan struct{}) {
	t.Helper()
	fifo := filepath.Join(filepath.Dir(tool.Path), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Open for writing too until the build has it open, so that the read below waits.
	both, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	upped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer reader.Close()
		_, _ = reader.Read(make([]byte, 1))
		both.Close()
		close(upped)
		_, _ = io.Copy(io.Discard, reader)
	}()
	return upped, ended
}

// stuck returns a configuration in which the first compile of a build hangs. The channel up
// is closed when it does, gone when all processes that hang have ended.
func stuck(t *testing.T) (cfg Config, up, gone <-chan struct{}) {
	t.Helper()
	cfg = wrapped(t, `[ "$1" = build ] || exec $GO "$@"; shift; exec $GO build -toolexec=$DIR/tool "$@"`)
	dir := filepath.Dir(cfg.Tool.Path)
	script := "#!/bin/sh\nexec 3>" + dir + "/fifo\ntouch \"$TMPDIR/file\"\necho up >&3\nexec sleep 10000\n"
	if err := os.WriteFile(filepath.Join(dir, "tool"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	up, gone = pipeOf(t, cfg.Tool)
	return cfg, up, gone
}

// wait waits until all processes that hang have ended, also if the build ended before there was one.
func wait(t *testing.T, tool *gotool.Tool, gone <-chan struct{}) {
	t.Helper()
	if up, err := os.OpenFile(filepath.Join(filepath.Dir(tool.Path), "fifo"), os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
		_, _ = up.Write([]byte("x"))
		_ = up.Close()
	}
	<-gone
}

func TestCancelLeavesNoProcessAndNoFile(t *testing.T) {
	cfg, up, gone := stuck(t)
	e := newEngine(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-up
		cancel()
	}()
	_, err := e.Build(ctx, builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard)
	if k6x.KindOf(err) != k6x.Canceled {
		t.Errorf("got %v", err)
	}
	if left := leftovers(t, e); len(left) > 0 {
		t.Errorf("left in the work directory: %v", left)
	}
	<-gone
}

func TestTimeoutLeavesNoProcessAndNoFile(t *testing.T) {
	cfg, _, gone := stuck(t)
	cfg.Timeout = 2 * time.Second
	e := newEngine(t, cfg)
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard)
	if k6x.KindOf(err) != k6x.Timeout || !strings.Contains(err.Error(), "2s") {
		t.Errorf("got %v", err)
	}
	if left := leftovers(t, e); len(left) > 0 {
		t.Errorf("left in the work directory: %v", left)
	}
	wait(t, cfg.Tool, gone)
}

func TestDeadlineOfTheCallerIsATimeout(t *testing.T) {
	cfg, _, gone := stuck(t)
	e := newEngine(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := e.Build(ctx, builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard); k6x.KindOf(err) != k6x.Timeout {
		t.Errorf("got %v", err)
	}
	wait(t, cfg.Tool, gone)
}

// TestUnpinnedModuleIsNotEvenLookedFor shows that the go command is killed before it
// has an answer.
func TestUnpinnedModuleIsNotEvenLookedFor(t *testing.T) {
	hang := make(chan struct{})
	next := testmod.Serve(t, "../../testdata/standin")
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/list") || strings.HasSuffix(r.URL.Path, "/@latest") {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
			return
		}
		http.Redirect(w, r, next+r.URL.Path, http.StatusFound)
	}))
	defer proxy.Close()
	defer close(hang)
	e := newEngine(t, Config{Tool: standinTool(t, proxy.URL)})
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0", "untidy@v0.1.0")}, nil, io.Discard)
	failure{kind: k6x.BuildFailed, message: []string{"example.com/greeting"}, hint: "tidy", output: "finding"}.check(t, err)
}

func TestGoCommandThatIsKilledByTheSystem(t *testing.T) {
	e := newEngine(t, wrapped(t, "kill -9 $$"))
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard)
	failure{kind: k6x.Unavailable, hint: "memory"}.check(t, err)
}

// TestChildrenThatOutliveTheGoCommandAreKilled has a go command that ends while a
// process of its group goes on.
func TestChildrenThatOutliveTheGoCommandAreKilled(t *testing.T) {
	cfg := wrapped(t, "exec 3>$DIR/fifo; echo up >&3; sleep 10000 & exit 1")
	_, gone := pipeOf(t, cfg.Tool)
	e := newEngine(t, cfg)
	if _, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard); err == nil {
		t.Error("it succeeded")
	}
	<-gone
}

func TestOutputOfAFloodIsBounded(t *testing.T) {
	e := newEngine(t, wrapped(t, `head -c 4000000 /dev/zero | tr '\0' x; exit 1`))
	_, err := e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, io.Discard)
	if n := len(k6x.AsError(err).Output); n == 0 || n > maxOutput+100 {
		t.Errorf("%d bytes of output", n)
	}
}

// TestHelperHangingBuild is the process that TestKillOfTheProcessLeavesNothingAfterARestart kills.
func TestHelperHangingBuild(t *testing.T) {
	dir, proxy, ok := strings.Cut(os.Getenv(hangingBuild), " ")
	if !ok {
		t.Skip("is run by another test")
	}
	e, err := New(t.Context(), Config{Tool: standinTool(t, proxy), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Build(t.Context(), builder.Job{Recipe: e.recipe("v1.0.0")}, nil, &bytes.Buffer{})
	t.Fatal("the build ended:", err)
}

func TestKillOfTheProcessLeavesNothingAfterARestart(t *testing.T) {
	asked, gone := make(chan struct{}, 100), make(chan struct{}, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	defer proxy.Close()
	dir := emptyDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	helper := exec.CommandContext(t.Context(), self, "-test.run=^TestHelperHangingBuild$")
	helper.Env = append(os.Environ(), hangingBuild+"="+dir+" "+proxy.URL)
	if err := helper.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	work := filepath.Join(dir, "work")
	before, _ := os.ReadDir(work)

	beside, err := New(t.Context(), Config{Tool: standinTool(t, "off"), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(work, before[0].Name(), workdir.LockName)); err != nil {
		t.Errorf("the work of a living process was swept: %v", err)
	}
	if err := beside.Close(); err != nil {
		t.Error(err)
	}

	if err := helper.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = helper.Wait()
	if _, err := os.Stat(filepath.Join(work, before[0].Name())); err != nil {
		t.Errorf("there is nothing to sweep: %v", err)
	}
	newEngine(t, Config{Tool: standinTool(t, "off"), Dir: dir})
	after, err := os.ReadDir(work)
	if err != nil || len(after) != 1 || after[0].Name() == before[0].Name() {
		t.Errorf("after a restart: %v, %v", after, err)
	}
	waitForTheGoCommand(t, gone)
}
