//go:build unix && !linux

package cage

import (
	"os/exec"
	"syscall"
)

// setGroup gives cmd a process group, which its children are in too.
func setGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
}

// onlyZombies returns false: here the first process reaps the orphans at once.
func onlyZombies(int) bool { return false }
