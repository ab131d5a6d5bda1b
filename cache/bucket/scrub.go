package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"k6x/cache"
	"k6x/cache/blob"
)

// ScrubReport is what a [Store.Scrub] did.
type ScrubReport struct {
	Checked int      // binaries read
	Bytes   int64    // bytes read
	Damaged []string // keys whose binary was removed, to be built again when it is asked for
	Unbound int      // bindings removed because there is no record under their key
}

// Scrub reads all binaries of a place and compares them with the digests of their records. A binary
// that differs is removed, so that it counts as evicted. It also removes bindings whose
// record was forgotten. It ends early with the error of ctx.
func (s *Store) Scrub(ctx context.Context) (ScrubReport, error) {
	var report ScrubReport
	if s.own == nil {
		return report, fmt.Errorf("binaries of a shared bucket are not read here: %w", errors.ErrUnsupported)
	}
	s.own.mu.Lock()
	var keys []string
	for key := range s.own.ledger.Keys() {
		if item, _ := s.own.ledger.Get(key); item.Binary > 0 {
			keys = append(keys, key)
		}
	}
	s.own.mu.Unlock()
	for _, key := range keys {
		err := s.scrubBinary(ctx, key, &report)
		if err != nil && !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return report, fault("a binary could not be checked", err)
		}
	}
	for info, err := range s.bucket.List(ctx, paths) {
		if err == nil {
			err = s.scrubBinding(ctx, info.Name, &report)
		}
		if err != nil {
			return report, fault("the bindings could not be checked", err)
		}
	}
	return report, nil
}

func (s *Store) scrubBinary(ctx context.Context, key string, report *ScrubReport) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	size, err := s.verify(ctx, key)
	if size > 0 {
		report.Checked++
		report.Bytes += size
	}
	if errors.Is(err, errRemoved) {
		report.Damaged = append(report.Damaged, key)
	}
	return err
}

// scrubBinding removes a blob below paths that binds nothing.
func (s *Store) scrubBinding(ctx context.Context, name string, report *ScrubReport) error {
	binds := func() (bool, error) {
		data, err := s.get(ctx, name, maxBinding)
		var b binding
		switch {
		case isAbsent(err):
			return true, nil // removed meanwhile: nothing left to do
		case err != nil && !errors.Is(err, errDamaged):
			return false, err
		case err != nil || json.Unmarshal(data, &b) != nil || b.check(b.Path) != nil || s.binding(b.Path) != name:
			return false, nil
		}
		return s.find(ctx, b.Key)
	}
	if ok, err := binds(); ok || err != nil {
		return err
	}
	return s.exclusive(func() error {
		if ok, err := binds(); ok || err != nil {
			return err
		}
		report.Unbound++
		return blob.IgnoreAbsent(s.bucket.Delete(ctx, name))
	})
}
