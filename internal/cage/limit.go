package cage

import (
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Limits bound what one program takes, with all that it starts. 0 is no limit.
type Limits struct {
	Memory    int64         // bytes, resident in all of its processes
	CPU       time.Duration // of all of its processes
	FileSize  int64         // bytes of a file that it writes
	OpenFiles int64         // of one process
	Output    int64         // bytes that it prints
}

// The names of limits in an [Exceeded], which are those of k6x.Limit.
const (
	Memory    = "memory"
	CPU       = "cpu"
	FileSize  = "file-size"
	OpenFiles = "files"
	Printed   = "output"
)

// Exceeded is the error of a program that was stopped at a limit.
type Exceeded struct {
	Name  string
	Value int64 // the limit: bytes, seconds or a number
}

func (e *Exceeded) Error() string {
	return fmt.Sprintf("stopped at the limit of %s, %d", e.Name, e.Value)
}

// What Go programs, C programs and the system say at a limit of one process.
var signs = []struct {
	name string
	said *regexp.Regexp
}{
	{Memory, regexp.MustCompile(`(?m)^(?:fatal error: )?runtime: (?:cannot allocate memory|out of memory)|^virtual memory exhausted|^cc1\w*: out of memory`)},
	{CPU, regexp.MustCompile(`(?m)^SIGXCPU|^CPU time limit exceeded`)},
	{FileSize, regexp.MustCompile(`(?m): (?:f|F)ile too large$|^SIGXFSZ`)},
	{OpenFiles, regexp.MustCompile(`(?m): too many open files$`)}, // of the process; those of the system go on in another way
}

// Met returns the limit that a process which failed says it came to, nil if it does not.
func (l Limits) Met(text string) *Exceeded {
	values := map[string]int64{Memory: l.Memory, CPU: int64(l.CPU / time.Second), FileSize: l.FileSize, OpenFiles: l.OpenFiles}
	for _, sign := range signs {
		if value := values[sign.name]; value > 0 && sign.said.MatchString(text) {
			return &Exceeded{sign.name, value}
		}
	}
	return nil
}

// watch stops a program at a limit.
type watch struct {
	cmd     *exec.Cmd
	limits  Limits
	stop    chan struct{} // closed when the program has ended
	looking sync.WaitGroup
	printed atomic.Int64 // bytes

	mu       sync.Mutex // guards what follows
	exceeded *Exceeded
}

func newWatch(cmd *exec.Cmd, limits Limits) *watch {
	w := &watch{cmd: cmd, limits: limits, stop: make(chan struct{})}
	if limits.Output == 0 {
		return w
	}
	same := sameWriter(cmd.Stdout, cmd.Stderr)
	if cmd.Stdout != nil {
		cmd.Stdout = &counted{cmd.Stdout, w}
	}
	switch {
	case same:
		cmd.Stderr = cmd.Stdout // for which there is one pipe then
	case cmd.Stderr != nil:
		cmd.Stderr = &counted{cmd.Stderr, w}
	}
	return w
}

// sameWriter reports whether a and b are one writer. Some cannot be compared.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }()
	return a == b
}

// begin watches the program, which has just been started.
func (w *watch) begin() {
	if w.limits == (Limits{}) {
		return
	}
	limit(w.cmd.Process.Pid, w.limits)
	w.looking.Go(func() { w.look(w.cmd.Process.Pid) })
}

// end ends the watch and returns the limit that stopped the program, nil if none did.
func (w *watch) end() *Exceeded {
	close(w.stop)
	w.looking.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.exceeded
}

// interval is the time between two looks: a process fills some 200 MB in it.
const interval = 200 * time.Millisecond

// look looks again and again at what the processes of the program take.
func (w *watch) look(pid int) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-ticker.C:
		}
		memory, cpu := usage(pid)
		switch {
		case w.limits.Memory > 0 && memory > w.limits.Memory:
			w.exceed(Memory, w.limits.Memory)
		case w.limits.CPU > 0 && cpu > w.limits.CPU:
			w.exceed(CPU, int64(w.limits.CPU/time.Second))
		}
	}
}

// exceed kills the program, which went over a limit.
func (w *watch) exceed(name string, value int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.exceeded == nil {
		w.exceeded = &Exceeded{name, value}
		_ = killGroup(w.cmd) // it may have ended just now
	}
}

// counted is a writer of which the watch counts the bytes.
type counted struct {
	io.Writer
	watch *watch
}

func (c *counted) Write(p []byte) (int, error) {
	if most := c.watch.limits.Output; c.watch.printed.Add(int64(len(p))) > most {
		c.watch.exceed(Printed, most)
	}
	return c.Writer.Write(p)
}
