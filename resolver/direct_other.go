//go:build !unix

package resolver

import (
	"os/exec"
	"strconv"
)

// killWithChildren has the command and all that it started killed when its context ends.
func killWithChildren(cmd *exec.Cmd) {
	cmd.Cancel = func() error {
		if err := exec.Command("taskkill", "/T", "/F", "/PID", strconv.Itoa(cmd.Process.Pid)).Run(); err == nil {
			return nil
		}
		return cmd.Process.Kill()
	}
}
