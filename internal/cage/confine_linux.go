package cage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// probe finds out what the system can hold back.
func (c *Cage) probe() {
	version, err := landlocksys.LandlockGetABIVersion()
	c.landlock = err == nil && version >= 2 // the first version forbids all moves between directories
	c.filters = tryFilter() == nil
	c.on = c.landlock || c.filters
	var lacks []string
	if c.landlock {
		for _, step := range []struct {
			since int
			what  string
		}{
			{3, "truncation of files"},
			{4, "TCP ports"},
			{6, "signals and abstract sockets"},
		} {
			if version < step.since {
				lacks = append(lacks, "Landlock of this kernel does not hold back "+step.what)
			}
		}
	} else {
		lacks = append(lacks, "the kernel has no Landlock, or it is not enabled, so files of this system can be read and written")
	}
	if !c.filters {
		lacks = append(lacks, "seccomp filters cannot be used, so the network is open")
	}
	if !canWatch() {
		lacks = append(lacks, "the kernel does not list the children of a process, so memory is bounded for each process only")
	}
	switch {
	case !c.on:
		c.report = Report{None, lacks}
	case len(lacks) > 0:
		c.report = Report{Partial, lacks}
	default:
		c.report = Report{State: Full}
	}
}

// tryFilter loads a seccomp filter into a thread that ends then.
func tryFilter() error {
	ended := make(chan struct{})
	defer close(ended)
	return onOwnThread(func() error { return loadFilter(NoNetwork) }, ended)
}

// onOwnThread calls start on a thread of its own, that lives until ended is closed. Whatever start
// does to the thread ends with it; the kernel kills a child of the thread, see setGroup, when it ends.
func onOwnThread(start func() error, ended <-chan struct{}) error {
	result := make(chan error, 1)
	var begin func()
	begin = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, so another one is taken while this one is in use.
			defer runtime.UnlockOSThread()
			other := make(chan struct{})
			go func() {
				defer close(other)
				begin()
			}()
			<-other
			return
		}
		result <- start()
		<-ended
	}
	go begin()
	return <-result
}

// confined restricts this thread, which ends soon, and starts cmd, which inherits that.
func (c *Cage) confined(cmd *exec.Cmd, p Policy) error {
	env := cmd.Environ()
	if !slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "GOMAXPROCS=") }) {
		// The files are out of reach that tell a Go program of the limits of its container. The go command starts
		// as many compilers, each of which takes memory.
		procs := runtime.GOMAXPROCS(0)
		if c.limits.Memory > 0 {
			procs = min(procs, int(max(1, c.limits.Memory/perProcess)))
		}
		cmd.Env = append(env, "GOMAXPROCS="+strconv.Itoa(procs))
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("making a sandbox: %w", err)
	}
	if err := c.restrictFiles(cmd.Path, p); err != nil {
		return fmt.Errorf("making a sandbox: %w", err)
	}
	if err := loadFilter(p.Network); err != nil && c.filters {
		return fmt.Errorf("making a sandbox: %w", err)
	}
	return cmd.Start()
}

// perProcess is the memory that there has to be for each compiler that runs beside others.
const perProcess = 256 << 20

// restrictFiles restricts this thread by Landlock, if there is one.
func (c *Cage) restrictFiles(path string, p Policy) error {
	if !c.landlock {
		return nil
	}
	fd, flags, err := p.ruleset(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return landlocksys.LandlockRestrictSelf(fd, flags)
}

// What each program needs of the system: its programs and libraries, and how to find them.
var (
	systemPrograms = []string{
		"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
		"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/include", "/usr/share",
		"/usr/local/bin", "/usr/local/lib", "/usr/local/lib64", "/usr/local/libexec", "/usr/local/include",
		"/nix/store", "/gnu/store",
	}
	systemFiles = []string{
		"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/alternatives", "/etc/localtime",
		"/dev/zero", "/dev/urandom", "/dev/random", "/sys/kernel/mm/transparent_hugepage",
	}
	systemDevices = []string{"/dev/null", "/dev/full"}
)

// Rights on files and, besides those, on directories.
const (
	readFile  = landlock.AccessFSSet(landlocksys.AccessFSReadFile)
	execFile  = readFile | landlocksys.AccessFSExecute
	writeFile = readFile | landlocksys.AccessFSWriteFile | landlocksys.AccessFSTruncate
	readDir   = landlock.AccessFSSet(landlocksys.AccessFSReadDir)
	writeDir  = readDir | landlocksys.AccessFSRemoveDir | landlocksys.AccessFSRemoveFile | landlocksys.AccessFSMakeDir |
		landlocksys.AccessFSMakeReg | landlocksys.AccessFSMakeSym | landlocksys.AccessFSMakeFifo | landlocksys.AccessFSRefer
)

// ruleset returns what lets through the policy, for a program at path, and what goes with it.
func (p Policy) ruleset(path string) (fd int, flags uint32, err error) {
	cfg := landlock.V6
	var rules []landlock.Rule
	allow := func(paths []string, file, dir landlock.AccessFSSet) {
		for _, path := range paths {
			info, err := os.Stat(path)
			switch {
			case err != nil: // it is not there, or out of reach for this process, too
			case info.IsDir():
				rules = append(rules, landlock.PathAccess(file|dir, path).IgnoreIfMissing())
			default:
				rules = append(rules, landlock.PathAccess(file, path).IgnoreIfMissing())
			}
		}
	}
	allow(systemPrograms, execFile, readDir)
	allow(systemFiles, readFile, readDir)
	allow(systemDevices, writeFile, 0)
	allow([]string{path}, execFile, 0)
	allow(p.Exec, execFile, readDir)
	allow(p.Read, readFile, readDir)
	allow(p.Write, writeFile, writeDir)
	switch p.Network {
	case AnyNetwork:
		cfg.HandledAccessNet = 0
	case Ports:
		for _, port := range p.Ports {
			rules = append(rules, landlock.ConnectTCP(port))
		}
	}
	fd, flags, err = cfg.BestEffort().NewRulesetFD(rules...)
	if err == nil && fd < 0 {
		err = errors.New("the kernel holds nothing back")
	}
	return fd, flags, err
}
