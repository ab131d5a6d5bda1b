package workdir

import (
	"context"

	"golang.org/x/sync/semaphore"

	"k6x"
	"k6x/internal/disk"
)

// exclusively is the weight of an exclusive use.
const exclusively = 1 << 30

// gate lets builds use the caches together, or one other use them exclusively: within this process, and among
// the processes that share the directory by a lock on file.
type gate struct {
	file string
	sem  *semaphore.Weighted
}

func newGate(file string) *gate { return &gate{file: file, sem: semaphore.NewWeighted(exclusively)} }

// shared waits until there is no exclusive use.
func (g *gate) shared(ctx context.Context) (leave func(), err error) {
	if err := g.sem.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	lock, err := disk.Lock(ctx, g.file, true)
	if err != nil {
		g.sem.Release(1)
		return nil, err
	}
	return func() {
		_ = lock.Close()
		g.sem.Release(1)
	}, nil
}

// exclusive waits until no build of this process uses the caches. It does not wait for other
// processes, as builds here would have to wait with it.
func (g *gate) exclusive(ctx context.Context) (leave func(), err error) {
	if err := g.sem.Acquire(ctx, exclusively); err != nil {
		return nil, err
	}
	lock, err := disk.TryLock(g.file, false)
	if err != nil || lock == nil {
		g.sem.Release(exclusively)
		if err != nil {
			return nil, err
		}
		return nil, k6x.Errorf(k6x.Busy, "another process is building in the same directory")
	}
	return func() {
		_ = lock.Close()
		g.sem.Release(exclusively)
	}, nil
}
