// Package process runs other programs so that nothing is left of them, and keeps no more of
// what they print than there is room for.
package process

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// waitDelay is for the output of a program that has ended or was killed.
const waitDelay = 10 * time.Second

// Run runs cmd, which [exec.CommandContext] made, in a process group of its own. When cmd's
// context ends or cmd does, all that is left of the group is killed, and Run returns once that
// is gone. Its errors are those of [exec.Cmd.Run].
func Run(cmd *exec.Cmd) error {
	// The signal that the kernel sends to the child when its parent dies is sent when
	// the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = waitDelay
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(cmd.Path), err)
	}
	defer endGroup(cmd)
	return cmd.Wait()
}
