package cage

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

// waitDelay is for the output of a program that has ended or was killed.
const waitDelay = 10 * time.Second

// Run runs cmd as [Cage.Run] does, unconfined and unlimited.
func Run(cmd *exec.Cmd) error { return run(cmd, cmd.Start, Limits{}) }

func run(cmd *exec.Cmd, start func() error, limits Limits) error {
	setGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = waitDelay
	w := newWatch(cmd, limits)
	ended := make(chan struct{})
	defer close(ended)
	if err := onOwnThread(start, ended); err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(cmd.Path), err)
	}
	defer endGroup(cmd)
	w.begin()
	err := cmd.Wait()
	if exceeded := w.end(); exceeded != nil && err != nil {
		return exceeded
	}
	return err
}
