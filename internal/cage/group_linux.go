package cage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// setGroup gives cmd a process group, which its children are in too. It is killed
// when this process dies.
func setGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}

// onlyZombies reports whether all that is left of a process group has ended and only waits
// for its parent to notice, which the first process of a container may do late. Where this
// process is that parent, it notices.
func onlyZombies(group int) bool {
	_, _ = syscall.Wait4(-group, nil, syscall.WNOHANG, nil)
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		return false
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // it is gone
		}
		// pid (name) state parent group …, and the name may have blanks and brackets
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" && fields[0] != "X" {
			return false
		}
	}
	return true
}
