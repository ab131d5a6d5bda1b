package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"k6x/cache"
	"k6x/cache/blob"
)

// ScrubReport is what a [Store.Scrub] did.
type ScrubReport struct {
	Checked int      // binaries read
	Bytes   int64    // bytes read
	Damaged []string // keys whose binary was removed, to be built again when it is asked for
	Unbound int      // bindings removed because there is no record under their key
	Aliases int      // bindings removed because there were too many beside those of the paths that binaries were first built for
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
		size, err := int64(0), ctx.Err()
		if err == nil {
			size, err = s.verify(ctx, key)
		}
		if size > 0 {
			report.Checked++
			report.Bytes += size
		}
		if errors.Is(err, errRemoved) {
			report.Damaged = append(report.Damaged, key)
		}
		if err != nil && !errors.Is(err, cache.ErrNotFound) && !errors.Is(err, cache.ErrEvicted) {
			return report, fault("a binary could not be checked", err)
		}
	}
	err := s.scrubBindings(ctx, &report)
	return report, fault("the bindings could not be checked", err)
}

// scrubBindings removes bindings that bind nothing, and aliases beyond the limit, those first that were bound first.
func (s *Store) scrubBindings(ctx context.Context, report *ScrubReport) error {
	var aliases []blob.Info
	first := map[string]string{} // by key: the path that it was first built for
	for info, err := range s.bucket.List(ctx, paths) {
		var b binding
		if err == nil {
			b, err = s.scrubBinding(ctx, info.Name, report)
		}
		if err != nil {
			return err
		}
		if _, known := first[b.Key]; b.Key != "" && !known {
			record, err := s.readRecord(ctx, b.Key)
			if err != nil {
				continue // it went, or is damaged
			}
			first[b.Key] = record.Path
		}
		if b.Path != first[b.Key] {
			aliases = append(aliases, info)
		}
	}
	if len(aliases) <= s.cfg.Aliases {
		return nil
	}
	slices.SortFunc(aliases, func(a, b blob.Info) int { return a.ModTime.Compare(b.ModTime) })
	return s.exclusive(func() error {
		s.own.paths.Purge()
		for _, alias := range aliases[:len(aliases)-s.cfg.Aliases] {
			report.Aliases++
			if err := blob.IgnoreAbsent(s.bucket.Delete(ctx, alias.Name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// boundAliases removes aliases beyond the limit once so many were bound that there may be some. Those of one eighth may be too many for a while.
func (s *Store) boundAliases(ctx context.Context) {
	if s.own.aliases.Add(1) <= int64(s.cfg.Aliases/8) {
		return
	}
	s.own.aliases.Store(0)
	var report ScrubReport
	err := s.scrubBindings(context.WithoutCancel(ctx), &report)
	s.logger.Info("bindings bounded", "removed", report.Aliases, "error", err)
}

// scrubBinding removes a blob below paths that binds nothing, and returns the binding of another one.
func (s *Store) scrubBinding(ctx context.Context, name string, report *ScrubReport) (b binding, err error) {
	binds := func() (bool, error) {
		b = binding{}
		data, err := s.get(ctx, name, maxBinding)
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
		return b, err
	}
	return binding{}, s.exclusive(func() error {
		if ok, err := binds(); ok || err != nil {
			return err
		}
		report.Unbound++
		return blob.IgnoreAbsent(s.bucket.Delete(ctx, name))
	})
}
