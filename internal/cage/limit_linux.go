package cage

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// limit sets limits on a process that has just been started, which those that it starts inherit. They
// are for one process each; watching bounds all together.
func limit(pid int, l Limits) {
	set := func(resource int, value int64) {
		// The process may have ended. A lower limit of this process's stays.
		var now unix.Rlimit
		if value > 0 && unix.Prlimit(pid, resource, nil, &now) == nil {
			most := min(uint64(value), now.Max)
			_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: most, Max: most}, nil)
		}
	}
	// Data is what a process may fill; Go programs map a little more than they do fill.
	set(unix.RLIMIT_DATA, l.Memory+l.Memory/4)
	if l.CPU > 0 { // watching comes first, and says so
		set(unix.RLIMIT_CPU, int64(l.CPU/time.Second)+5)
	}
	set(unix.RLIMIT_FSIZE, l.FileSize)
	set(unix.RLIMIT_NOFILE, l.OpenFiles)
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
}

// Of /proc/PID/stat after the name (proc_pid_stat(5), whose first field is 1).
const (
	statUtime = 14 - 3
	statRSS   = 24 - 3
)

// clockTicks is how many there are a second in /proc: the same on all systems that Go knows.
const clockTicks = 100

// usage returns the memory of a process and all that it started, and the processor time that
// they and those of them that have ended took. Memory that processes share counts for each.
func usage(pid int) (memory int64, cpu time.Duration) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:]) // the name may have blanks and brackets
	if len(fields) <= statRSS {
		return 0, 0
	}
	var ticks int64
	for _, field := range fields[statUtime : statUtime+4] { // its own, and those of children that have ended
		n, _ := strconv.ParseInt(string(field), 10, 64)
		ticks += n
	}
	pages, _ := strconv.ParseInt(string(fields[statRSS]), 10, 64)
	memory, cpu = pages*int64(os.Getpagesize()), time.Duration(ticks)*time.Second/clockTicks
	for _, child := range children(pid) {
		m, c := usage(child)
		memory, cpu = memory+m, cpu+c
	}
	return memory, cpu
}

// children returns the processes that a process has started and that are there still.
func children(pid int) []int {
	files, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil {
		return nil
	}
	var list []int
	for _, file := range files {
		data, _ := os.ReadFile(file) // the thread may be gone
		for field := range strings.FieldsSeq(string(data)) {
			if n, err := strconv.Atoi(field); err == nil {
				list = append(list, n)
			}
		}
	}
	return list
}

// canWatch reports whether the kernel lists the children of a process.
func canWatch() bool {
	_, err := os.Stat("/proc/thread-self/children")
	return err == nil
}
