package source

import (
	"context"
	"io/fs"
	"path/filepath"
	"sync"
	"time"
)

// perFile is what a file is counted for besides its bytes, so that many small ones are
// large too.
const perFile = 4096

// watchSize cancels with errTooLarge once there are more than most bytes in dir. The
// function that it returns ends that.
func watchSize(ctx context.Context, dir string, most int64, cancel context.CancelCauseFunc) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if size(dir, most) > most {
					cancel(errTooLarge)
					return
				}
			}
		}
	})
	return func() {
		end()
		watching.Wait()
	}
}

// size returns how many bytes are in dir, or some number above most.
func size(dir string, most int64) int64 {
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // it is gone already
		}
		total += perFile
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		if total > most {
			return fs.SkipAll
		}
		return nil
	})
	return total
}
