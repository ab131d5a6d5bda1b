package app

import (
	"math"
	"runtime"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

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
