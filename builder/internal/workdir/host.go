package workdir

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/gofrs/flock"
	"golang.org/x/sync/semaphore"

	"k6x"
	"k6x/builder/internal/gobuild"
	"k6x/gotool"
	"k6x/internal/cage"
	"k6x/internal/disk"
)

// Host is where an engine has the go command run on this machine. Several processes may share its directory.
type Host struct {
	Tool     *gotool.Tool
	Cage     *cage.Cage // nil: programs run as this process does
	Personal []string   // files and directories that what fetches modules may read besides what that of a service may
	Log      *slog.Logger

	Cache  string // name of the directory of Go's build cache; "": gocache
	Beside *Host  // another one of this process on the same directory: the caches are trimmed while neither builds

	Dir  string      // absolute: has work/, gocache/, modcache/ and home/, or home-own/ with the files of Personal
	Dirs gotool.Dirs // below Dir; Temp is that of each build
	Work *Dir
	gate *semaphore.Weighted // builds use the caches together, or one other use has them; across processes a lock on build.lock
}

// exclusively is the weight of an exclusive use.
const exclusively = 1 << 30

// Open makes what h has below dir, and removes what processes that died have left in its work directory. H has a Tool.
func (h *Host) Open(ctx context.Context, dir string) (err error) {
	h.Log = cmp.Or(h.Log, slog.New(slog.DiscardHandler))
	if h.Dir, err = filepath.Abs(dir); err != nil {
		return gobuild.FileError("finding the build directory", err)
	}
	h.Dirs = gotool.Dirs{
		Home:     filepath.Join(h.Dir, "home"),
		GoPath:   filepath.Join(h.Dir, "home", "go"),
		ModCache: filepath.Join(h.Dir, "modcache"),
		Cache:    filepath.Join(h.Dir, cmp.Or(h.Cache, "gocache")),
	}
	// Of golang.org are the toolchains, which may be run from there; see gotool.Tool.FetchPolicy.
	for _, d := range []string{filepath.Join(h.Dirs.ModCache, "golang.org"), h.Dirs.Cache, h.Dirs.GoPath} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return gobuild.FileError("making the build directories", err)
		}
	}
	if len(h.Personal) > 0 {
		h.Dirs.Home += "-own"
	}
	if err := gotool.MakeHome(h.Dirs.Home, h.Personal...); err != nil {
		return gobuild.FileError("making the build directories", err)
	}
	if h.Work, err = Open(ctx, h.Dir, h.Log); err != nil {
		return gobuild.FileError("preparing the work directory", err)
	}
	if h.gate = semaphore.NewWeighted(exclusively); h.Beside != nil {
		h.gate = h.Beside.gate
	}
	return nil
}

// Close removes the work directory of this process. No build may be running.
func (h *Host) Close() error { return h.Work.Close() }

// MakeTemp makes a directory for one build, to be removed by [Host.Remove].
func (h *Host) MakeTemp() (string, error) { return os.MkdirTemp(h.Work.Path, "") }

// Remove removes the directory of a build.
func (h *Host) Remove(dir string) {
	if err := RemoveAll(dir); err != nil {
		h.Log.Error("a build's workspace cannot be removed", "dir", dir, "err", err)
	}
}

// Enter waits until the caches are not being trimmed, and keeps it so until leave is called.
func (h *Host) Enter(ctx context.Context) (leave func(), err error) {
	leave, err = h.enter(ctx, 1, func(file string) (*flock.Flock, error) { return disk.Lock(ctx, file, true) })
	if err != nil {
		return nil, gobuild.Stopped(ctx, gobuild.FileError("waiting for the caches", err))
	}
	return leave, nil
}

// enter waits for a use of the caches in this process, and takes the lock for it.
func (h *Host) enter(ctx context.Context, weight int64, take func(file string) (*flock.Flock, error)) (leave func(), err error) {
	if err := h.gate.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	lock, err := take(filepath.Join(h.Dir, "build.lock"))
	if err == nil && lock == nil {
		err = k6x.Errorf(k6x.Busy, "another process is building in the same directory")
	}
	if err != nil {
		h.gate.Release(weight)
		return nil, err
	}
	return func() {
		_ = lock.Close()
		h.gate.Release(weight)
	}, nil
}

// Exclusive runs f while no build runs, for trimming the caches. It waits for the
// builds of this engine, and of the one beside it, until ctx ends, and those that come meanwhile wait for f. If
// another process is building in the directory, it returns an error of kind Busy at
// once and does not run f.
func (h *Host) Exclusive(ctx context.Context, f func() error) error {
	// Builds here would have to wait with it for another process.
	leave, err := h.enter(ctx, exclusively, func(file string) (*flock.Flock, error) { return disk.TryLock(file, false) })
	if err != nil {
		return err
	}
	defer leave()
	return f()
}

// Command returns a command in a directory, with the environment of the go command and more variables, and temp for
// temporary files.
func (h *Host) Command(ctx context.Context, dir, temp, program string, args, more []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(h.environment(temp), append([]string{"PWD=" + dir}, more...)...)
	return cmd
}

// Env returns the environment in which others may run the go command to ask about
// modules: clean as that of a build, with the same module cache.
func (h *Host) Env() []string { return h.environment(os.TempDir()) }

func (h *Host) environment(temp string) []string {
	dirs := h.Dirs
	dirs.Temp = temp
	return h.Tool.Env(dirs)
}

// FetchPolicy lets a command fetch modules, and change a directory besides Go's caches.
func (h *Host) FetchPolicy(dir string) cage.Policy {
	p := h.Tool.FetchPolicy(h.Dirs, dir)
	p.Read = append(p.Read, h.Personal...)
	return p
}

// RunFetching runs a go command that fetches modules, with the environment of [Host.Env], and may change dir besides Go's caches.
func (h *Host) RunFetching(cmd *exec.Cmd, dir string) error {
	return h.Cage.Run(cmd, h.FetchPolicy(dir))
}
