package binaries

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Stats counts the binaries of a directory.
type Stats struct {
	Binaries int
	Bytes    int64 // of all files of all entries, damaged ones included
	Limit    int64 // bytes; 0: none
}

// Stats counts the binaries that are kept.
func (d *Dir) Stats(ctx context.Context) (Stats, error) {
	stats := Stats{Limit: d.cfg.Size}
	all, err := d.Binaries(ctx)
	if err != nil {
		return stats, err
	}
	ids, err := d.ids()
	if err != nil {
		return stats, err
	}
	stats.Binaries = len(all)
	for _, id := range ids {
		stats.Bytes += d.sizeOf(id)
	}
	return stats, nil
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
	return d.prune(ctx, func(b Binary, readable bool) bool {
		return !readable || unused > 0 && d.cfg.Clock().Sub(b.Used) > unused
	})
}

// Clear removes all binaries but those that launchers are about to run.
func (d *Dir) Clear(ctx context.Context) (Pruned, error) {
	return d.prune(ctx, func(Binary, bool) bool { return true })
}

func (d *Dir) prune(ctx context.Context, unwanted func(b Binary, readable bool) bool) (Pruned, error) {
	var done Pruned
	ids, err := d.ids()
	if _, missing := os.Stat(d.cfg.Dir); err != nil || missing != nil {
		return done, err
	}
	secret, err := d.secret()
	if err != nil {
		return done, err
	}
	err = d.exclusive(ctx, func() error {
		d.sweep("")
		for _, id := range ids {
			b, err := d.read(id, secret)
			if !unwanted(b, err == nil) {
				continue
			}
			if err := d.pruneEntry(id, &done); err != nil {
				return err
			}
		}
		return d.shrink(ctx, "", 0, &done)
	})
	return done, err
}

// pruneEntry discards one entry, and counts it.
func (d *Dir) pruneEntry(id string, done *Pruned) error {
	size := d.sizeOf(id)
	gone, err := d.discard(id, false)
	switch {
	case err != nil:
		return err
	case !gone:
		done.InUse++
	default:
		done.Removed++
		done.Bytes += size
	}
	return nil
}

// makeRoom is shrink for a new entry, which is kept whatever its size: it is about to be run.
func (d *Dir) makeRoom(ctx context.Context, id string, size int64) error {
	var done Pruned
	err := d.shrink(ctx, id, size, &done)
	if done.Removed > 0 {
		d.cfg.Logger.Info("binaries removed to make room", "binaries", done.Removed, "bytes", done.Bytes)
	}
	return err
}

// shrink removes entries, those unused for longest first, until they and a new one of the given id and
// size are within the limit, or all that are left are in use. It is called under exclusive.
func (d *Dir) shrink(ctx context.Context, id string, size int64, done *Pruned) error {
	if d.cfg.Size == 0 {
		return nil
	}
	ids, err := d.ids()
	if err != nil {
		return err
	}
	type entry struct {
		id   string
		size int64
		used time.Time // zero if it cannot be read, so that it goes first
	}
	var entries []entry
	total := size
	for _, other := range ids {
		if other == id {
			continue
		}
		e := entry{id: other, size: d.sizeOf(other)}
		if info, err := os.Lstat(filepath.Join(d.home(other), recordName)); err == nil {
			e.used = info.ModTime()
		}
		total += e.size
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.used.Compare(b.used) })
	for _, e := range entries {
		if total <= d.cfg.Size || ctx.Err() != nil {
			break
		}
		before := done.Removed
		if err := d.pruneEntry(e.id, done); err != nil {
			d.cfg.Logger.Warn("binary cannot be removed to make room", "dir", d.home(e.id), "error", err)
		}
		if done.Removed > before {
			total -= e.size
		}
	}
	return nil
}

// sizeOf returns how many bytes the files of an entry have.
func (d *Dir) sizeOf(id string) int64 {
	entries, err := os.ReadDir(d.home(id))
	if err != nil {
		return 0
	}
	var size int64
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			size += info.Size()
		}
	}
	return size
}
