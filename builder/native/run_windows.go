package native

import (
	"errors"
	"os/exec"
	"strconv"
	"syscall"
)

func setGroup(*exec.Cmd) {}

// killGroup kills cmd and the processes that it has started.
func killGroup(cmd *exec.Cmd) error {
	if exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run() == nil {
		return nil
	}
	return cmd.Process.Kill()
}

func endGroup(*exec.Cmd) {}

func killed(error) bool { return false }

// noSpace reports whether err says that a disk is full.
func noSpace(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}
