package binaries

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"
)

// Stats counts the binaries of a directory.
type Stats struct {
	Binaries int
	Bytes    int64 // of all files of all entries, damaged ones included
}

// Stats counts the binaries that are kept.
func (d *Dir) Stats(ctx context.Context) (Stats, error) {
	var stats Stats
	all, err := d.entries(ctx)
	for _, e := range all {
		if e.readable {
			stats.Binaries++
		}
		stats.Bytes += d.size(e)
	}
	return stats, err
}

// Pruned counts the binaries that were removed.
type Pruned struct {
	Removed int
	Bytes   int64
	InUse   int // binaries that stay only because launchers are about to run them
}

// Prune removes binaries that cannot be read or were not used for longer than unused, if that is not 0, and
// then those unused for longest until all are within the limit.
func (d *Dir) Prune(ctx context.Context, unused time.Duration) (Pruned, error) {
	return d.prune(ctx, func(e entry) bool {
		return !e.readable || unused > 0 && d.cfg.Clock().Sub(e.Used) > unused
	})
}

// Clear removes all binaries but those that launchers are about to run.
func (d *Dir) Clear(ctx context.Context) (Pruned, error) {
	return d.prune(ctx, func(entry) bool { return true })
}

func (d *Dir) prune(ctx context.Context, unwanted func(entry) bool) (done Pruned, err error) {
	if _, err := os.Stat(d.cfg.Dir); err != nil {
		return done, nil
	}
	err = d.exclusive(ctx, func() error {
		d.sweep()
		done, err = d.shrink(ctx, "", 0, unwanted)
		return err
	})
	return done, err
}

// shrink removes entries, those unused for longest first, as long as they are unwanted or those that stay and a new one of the given
// id and size are above the limit. It is called under exclusive.
func (d *Dir) shrink(ctx context.Context, id string, size int64, unwanted func(entry) bool) (done Pruned, failed error) {
	all, err := d.entries(ctx)
	if err != nil {
		return done, err
	}
	all = slices.DeleteFunc(all, func(e entry) bool { return e.id == id })
	for _, e := range all {
		size += d.size(e)
	}
	for _, e := range slices.Backward(all) { // those that cannot be read are the first
		if !unwanted(e) && (d.cfg.Size == 0 || size <= d.cfg.Size) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return done, errors.Join(failed, err)
		}
		bytes := d.size(e)
		gone, err := d.discard(e.id, false)
		switch {
		case err != nil:
			d.cfg.Logger.Warn("binary cannot be removed", "dir", d.home(e.id), "error", err)
			failed = errors.Join(failed, err)
		case !gone:
			done.InUse++
		default:
			done.Removed++
			done.Bytes += bytes
			size -= bytes
		}
	}
	return done, failed
}

// size returns how many bytes the files of an entry have.
func (d *Dir) size(e entry) (bytes int64) {
	files, _ := os.ReadDir(d.home(e.id))
	for _, file := range files {
		if info, err := file.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}
