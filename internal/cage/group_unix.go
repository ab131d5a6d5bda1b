//go:build unix

package cage

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// killGroup kills the process group of cmd.
func killGroup(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// endGroup kills what is left of the group of cmd, which has been waited for, and
// waits until it is gone; at most two seconds, as a process that hangs in the kernel
// cannot be helped.
func endGroup(cmd *exec.Cmd) {
	for range 400 {
		if killGroup(cmd) != nil || onlyZombies(cmd.Process.Pid) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Killed reports whether err of [Run] says that the process was killed, by whomever.
func Killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
