package app

import (
	"math"
	"testing"
)

func TestBuildsFollowProcessorsAndMemory(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		processors int
		memory     uint64
		want       int
	}{
		{1, 16 * gib, 1},
		{2, 24 * gib, 1},
		{16, 64 * gib, 8},
		{16, 4 * gib, 4},
		{16, 4*gib - 1, 3},
		{16, gib / 2, 1},
		{64, math.MaxUint64, 32},
	} {
		if got := buildsFor(c.processors, c.memory); got != c.want {
			t.Errorf("%d builds for %d processors and %d bytes, want %d", got, c.processors, c.memory, c.want)
		}
	}
}

func TestMemoryIsThatOfAMachine(t *testing.T) {
	if n := availableMemory(); n < 16<<20 || n > 1<<50 {
		t.Errorf("%d bytes", n)
	}
}
