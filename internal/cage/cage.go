// Package cage runs programs that read what strangers wrote: the go command, compilers, linkers and git.
// Such a program sees the file system, the network and other processes only as far as its [Policy]
// says, takes no more of the machine than its [Limits], and nothing is left of it when [Cage.Run] returns.
//
// On Linux a thread of this process restricts itself and starts the program, which inherits that: files,
// TCP ports, signals and abstract sockets by Landlock (https://docs.kernel.org/userspace-api/landlock.html), sockets of
// all other kinds and System V IPC by a seccomp filter. Elsewhere programs run as this process does, within a process group.
//
// File map: run.go and group_*.go run a program and end it; confine_*.go restrict it; limit*.go watch what it takes; output.go keeps what it prints.
package cage

import (
	"fmt"
	"os/exec"
	"strings"
)

// Mode says how much confinement is asked for.
type Mode string

// The modes, as --sandbox has them.
const (
	Auto    Mode = "auto"    // as much as the system can
	Require Mode = "require" // all of it, or nothing is run
	Off     Mode = "off"     // none
)

// ParseMode returns the mode of that name.
func ParseMode(name string) (Mode, error) {
	switch m := Mode(name); m {
	case Auto, Require, Off:
		return m, nil
	}
	return "", fmt.Errorf("the sandbox is auto, require or off, not %q", name)
}

// The states of a [Report].
const (
	Full    = "full"
	Partial = "partial"
	None    = "none"
)

// Report says what a cage holds back.
type Report struct {
	State string   `json:"state"`           // full, partial or none
	Lacks []string `json:"lacks,omitempty"` // what is not held back, in words
}

func (r Report) String() string {
	if len(r.Lacks) == 0 {
		return r.State
	}
	return r.State + " (" + strings.Join(r.Lacks, "; ") + ")"
}

// Policy says what a program may do besides running the programs and reading the libraries of the system. Paths
// are absolute; one that does not exist is passed over. Directories stand for all that is below them.
type Policy struct {
	Exec    []string // files and directories that it may read and run
	Read    []string // files and directories that it may read
	Write   []string // directories that it may read and change
	Network Network
	Ports   []uint16 // of TCP, for [Ports]
}

// Network is the reach of a program.
type Network int

// The reaches.
const (
	NoNetwork  Network = iota // no socket can be made
	Ports                     // TCP to the ports of the policy, on any address; nothing else
	AnyNetwork                // no restriction, abstract sockets excepted
)

// Cage runs programs. The zero value and nil confine nothing.
type Cage struct {
	limits            Limits
	report            Report
	on                bool
	landlock, filters bool // what confines: Landlock, seccomp
}

// Config says what a cage is like.
type Config struct {
	Mode   Mode
	Limits Limits
}

// New returns a cage. With [Require] it returns an error unless the system can confine fully.
func New(cfg Config) (*Cage, error) {
	c := &Cage{limits: cfg.Limits}
	if cfg.Mode == Off {
		c.report = Report{None, []string{"it is switched off"}}
		return c, nil
	}
	c.probe()
	if cfg.Mode == Require && c.report.State != Full {
		return nil, fmt.Errorf("this system cannot confine builds fully: %s", strings.Join(c.report.Lacks, "; "))
	}
	return c, nil
}

// Report says what the cage holds back.
func (c *Cage) Report() Report {
	if c == nil || c.report.State == "" {
		return Report{State: None}
	}
	return c.report
}

// Limits returns those of each program.
func (c *Cage) Limits() Limits {
	if c == nil {
		return Limits{}
	}
	return c.limits
}

// Run runs cmd, which [exec.CommandContext] made, in a process group of its own and confined by the policy. When cmd's
// context ends or cmd does, all that is left of the group is killed, and Run returns once that
// is gone. Its errors are those of [exec.Cmd.Run], or an [*Exceeded] if a limit of the cage stopped it.
func (c *Cage) Run(cmd *exec.Cmd, p Policy) error {
	if c == nil {
		return run(cmd, cmd.Start, Limits{})
	}
	start := cmd.Start
	if c.on {
		start = func() error { return c.confined(cmd, p) }
	}
	return run(cmd, start, c.limits)
}
