package app

import (
	"cmp"
	"maps"
	"math"
	"runtime"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/pflag"

	"k6x"
	"k6x/cmd/internal/cli"
	"k6x/internal/cage"
)

// Sandbox says how the go command and what it starts are confined, and what one build may take. The zero value confines as far as
// the system can, without limits.
type Sandbox struct {
	mode   string
	memory cli.ByteSize
	cpu    time.Duration
}

// What one build may take that is no flag: many times what k6 with any extension does.
const (
	maxFileSize  = 2 << 30
	maxOpenFiles = 1 << 14
	maxPrinted   = 64 << 20
)

// AddFlags adds the flags that choose it.
func (s *Sandbox) AddFlags(f *pflag.FlagSet) {
	s.memory, s.cpu = 4<<30, time.Hour
	f.StringVar(&s.mode, "sandbox", string(cage.Auto),
		"`mode` of confining the go command, compilers, linkers and git: auto as far as the system can, require to refuse to start where it cannot fully, off")
	f.Var(&s.memory, "build-memory", "`bytes` of memory that one build may take; 0 is no limit")
	f.DurationVar(&s.cpu, "build-cpu", s.cpu, "processor time that one build may take; 0 is no limit")
}

// Limits returns the bounds on a build by name; none on systems where nothing holds them.
func (s Sandbox) Limits() k6x.Limits {
	if runtime.GOOS != "linux" {
		return nil
	}
	l := k6x.Limits{k6x.LimitMemory: int64(s.memory), k6x.LimitCPU: int64(s.cpu / time.Second),
		k6x.LimitFileSize: maxFileSize, k6x.LimitFiles: maxOpenFiles, k6x.LimitOutput: maxPrinted}
	maps.DeleteFunc(l, func(_ string, value int64) bool { return value == 0 })
	return l
}

// Cage returns the cage for the programs of builds.
func (s Sandbox) Cage() (*cage.Cage, error) {
	mode, err := cage.ParseMode(cmp.Or(s.mode, string(cage.Auto)))
	if err != nil || s.cpu < 0 {
		return nil, &cli.UsageError{Err: k6x.Errorf(k6x.Invalid, "--sandbox is auto, require or off, --build-cpu a duration such as 1h")}
	}
	c, err := cage.New(cage.Config{Mode: mode, Limits: cage.Limits{
		Memory: int64(s.memory), CPU: s.cpu, FileSize: maxFileSize, OpenFiles: maxOpenFiles, Output: maxPrinted,
	}})
	if err != nil {
		return nil, k6x.Errorf(k6x.Internal, "%w", err).WithHint("Use a newer kernel, or --sandbox auto, which does what it can.")
	}
	return c, nil
}

// buildMemory is what a build may take: a link of k6 takes 0.7 GB, compiling something besides.
const buildMemory = 1 << 30

// DefaultMaxBuilds returns how many builds this process has processors and memory for: half of
// its processors, as a build uses several now and then, but no more than its memory in GiB.
func DefaultMaxBuilds() int { return buildsFor(runtime.GOMAXPROCS(0), availableMemory()) }

// MaxBuildsUsage is the help of a flag whose default is that number.
const MaxBuildsUsage = "`number` of builds at once; by default one for every two processors, but no more than one for each GiB of memory, of the machine or the container"

func buildsFor(processors int, memory uint64) int {
	return max(1, int(min(uint64(processors/2), memory/buildMemory)))
}

// availableMemory returns the bytes that the machine has or the process is limited to, the most
// that there can be if neither says.
func availableMemory() uint64 {
	least := uint64(math.MaxUint64)
	for _, source := range []memlimit.Provider{memlimit.FromSystem, memlimit.FromCgroup} {
		if bytes, err := source(); err == nil && bytes > 0 {
			least = min(least, bytes)
		}
	}
	return least
}
