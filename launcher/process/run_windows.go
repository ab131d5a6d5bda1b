package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"k6x"
)

// run has a child p at the same console, and waits for it.
func run(ctx context.Context, p Process, argv []string) (int, error) {
	// The console sends Ctrl-C, Ctrl-Break and the end of the session to the child as well. It decides what
	// to do about them; this process only must not end before it. The channel is not read.
	console := make(chan os.Signal, 1)
	signal.Notify(console, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(console)
	if ctx.Err() != nil {
		return 0, k6x.CanceledBy(ctx)
	}
	cmd := exec.Cmd{Path: p.Path, Args: argv, Env: p.Env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		WaitDelay: time.Second} // for processes that k6 started and left behind with the stdin given below
	if p.Stdin != nil {
		cmd.Stdin = bytes.NewReader(p.Stdin)
	}
	defer endTogether()()
	err := cmd.Start()
	if errors.Is(err, windows.ERROR_BAD_EXE_FORMAT) || errors.Is(err, windows.ERROR_EXE_MACHINE_TYPE_MISMATCH) {
		err = errors.Join(syscall.ENOEXEC, err)
	}
	if errors.Is(err, windows.ERROR_FILENAME_EXCED_RANGE) { // a command line that is too long
		err = errors.Join(syscall.E2BIG, err)
	}
	if err != nil {
		return 0, fault(p.Path, err)
	}
	if err := cmd.Wait(); cmd.ProcessState == nil {
		return 0, fault(p.Path, err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

// endTogether makes the children that are started from now on end if this process is killed, until it
// calls over: processes that k6 started may go on after k6, as without a launcher. Where it
// cannot be done they just live on, which is no reason not to run.
func endTogether() (over func()) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return func() {}
	}
	limit := func(flags uint32) error {
		info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
			BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags},
		}
		_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
			uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
		return err
	}
	if limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE) != nil || windows.AssignProcessToJobObject(job, windows.CurrentProcess()) != nil {
		_ = windows.CloseHandle(job) // empty
		return func() {}
	}
	return func() {
		if limit(0) == nil {
			_ = windows.CloseHandle(job)
		} // else it is closed by the end of this process, which is near
	}
}
