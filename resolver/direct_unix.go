//go:build unix

package resolver

import (
	"os/exec"
	"syscall"
)

// killWithChildren gives the command a process group of its own, all of which is
// killed when its context ends.
func killWithChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
