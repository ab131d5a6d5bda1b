package dir

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"k6x/cache"
	"k6x/internal/disk"
)

// ScrubReport is what a [Store.Scrub] did.
type ScrubReport struct {
	Checked int      // binaries read
	Bytes   int64    // bytes read
	Damaged []string // keys whose binary was removed, to be built again when it is asked for
	Unbound int      // bindings removed because there is no record under their key
}

// Scrub reads all binaries and compares them with the digests of their records. A binary
// that differs is removed, so that it counts as evicted. It also removes bindings whose
// record was forgotten. It ends early with the error of ctx.
func (s *Store) Scrub(ctx context.Context) (ScrubReport, error) {
	var report ScrubReport
	s.mu.Lock()
	var keys []string
	for key := range s.ledger.Keys() {
		if item, _ := s.ledger.Get(key); item.Binary > 0 {
			keys = append(keys, key)
		}
	}
	s.mu.Unlock()
	for _, key := range keys {
		err := s.scrubBinary(ctx, key, &report)
		if err != nil && !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return report, fault("a binary could not be checked", err)
		}
	}
	return report, fault("the bindings could not be checked", s.scrubBindings(ctx, &report))
}

func (s *Store) scrubBinary(ctx context.Context, key string, report *ScrubReport) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.hold(key)()
	in, file, err := s.open(key)
	if errors.Is(err, errWrongSize) {
		report.Damaged = append(report.Damaged, key)
	}
	if err != nil {
		return s.mend(key, err)
	}
	defer file.Close()
	digest, size, err := disk.Digest(reader{ctx, file})
	report.Checked++
	report.Bytes += size
	if err != nil || digest == in.digest {
		return err
	}
	s.logger.Error("binary does not have the digest of its record; it has to be built again",
		"key", key, "digest", digest, "want", in.digest)
	info, err := file.Stat()
	if err != nil {
		return err
	}
	file.Close() // where open files cannot be moved
	report.Damaged = append(report.Damaged, key)
	return s.setAside(key, info)
}

// reader ends with the error of its context, which is that of the Scrub.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (s *Store) scrubBindings(ctx context.Context, report *ScrubReport) error {
	root := filepath.Join(s.dir, "paths")
	shards, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, shard := range shards {
		names, err := os.ReadDir(filepath.Join(root, shard.Name()))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.scrubBinding(filepath.Join(root, shard.Name(), name.Name()), report); err != nil {
				return err
			}
		}
	}
	return nil
}

// scrubBinding removes a file below paths that binds nothing.
func (s *Store) scrubBinding(name string, report *ScrubReport) error {
	binds := func() (bool, error) {
		data, err := disk.ReadFile(name, maxBinding)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil // removed meanwhile: nothing left to do
		}
		var b binding
		if err != nil || json.Unmarshal(data, &b) != nil || cache.CheckPath(b.Path) != nil || s.binding(b.Path) != name {
			return false, err
		}
		key, err := s.readBinding(b.Path)
		if errors.Is(err, cache.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return s.find(key)
	}
	if ok, err := binds(); ok || err != nil {
		return err
	}
	return s.exclusive(func() error {
		if ok, err := binds(); ok || err != nil {
			return err
		}
		report.Unbound++
		return s.fs.RemoveAll(name)
	})
}
