package bucket

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k6x"
	"k6x/cache"
	"k6x/cache/blob"
)

const (
	tooYoung = time.Hour      // a younger binary stays, as it may be on its way to a client
	leftover = 24 * time.Hour // an older object that no record names is not under way any more
	unstaged = time.Hour      // as well, for what another machine put there: it was to be taken within minutes
)

// holding is what the bucket has for one key.
type holding struct {
	recorded bool
	binaries []blob.Info
}

// Trim lists the bucket and removes the binaries that were stored first until all take no
// more than the limit, but none that is younger than an hour; their records stay. It
// also removes what broken uploads and dead services left a day ago, and what other machines
// put there an hour ago. Several services may do so at once.
func (s *Store) Trim(ctx context.Context) error {
	if s.own != nil {
		return fmt.Errorf("what is kept within a limit is not trimmed: %w", errors.ErrUnsupported)
	}
	holdings, stats, err := s.survey(ctx)
	if err != nil {
		return err
	}
	now := s.cfg.Clock()
	var whole []blob.Info
	var failed []error
	drop := func(o blob.Info) bool {
		err := s.remove(ctx, o.Name)
		if err == nil {
			stats.Bytes -= o.Size
		} else {
			failed = append(failed, err)
		}
		return err == nil
	}
	for key, h := range holdings {
		named, err := s.named(ctx, key, h)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, o := range h.binaries {
			switch {
			case path.Base(o.Name) == named:
				whole = append(whole, o)
			case now.Sub(o.ModTime) > leftover && drop(o):
				s.logger.Info("leftover in the bucket removed", "name", o.Name)
			}
		}
	}
	slices.SortFunc(whole, func(a, b blob.Info) int { return a.ModTime.Compare(b.ModTime) })
	for _, o := range whole {
		if s.cfg.Size > 0 && stats.Bytes > s.cfg.Size && now.Sub(o.ModTime) > tooYoung && drop(o) {
			stats.Evictions++
			stats.Artifacts--
			stats.Evicted++
			s.logger.Info("binary in the bucket removed to make room", "name", o.Name)
		}
	}
	s.mu.Lock()
	stats.Evictions += s.stats.Evictions
	s.stats = stats
	s.mu.Unlock()
	if err := blob.Sweep(ctx, s.bucket, artifacts, now.Add(-leftover)); err != nil {
		s.unswept.Do(func() {
			s.logger.Warn("parts of broken uploads cannot be removed from the bucket; let a lifecycle rule do so", "error", hide(err))
		})
	}
	return errors.Join(append(failed, s.sweep(ctx, leases, now.Add(-leftover)), s.sweep(ctx, probes, now.Add(-leftover)), s.sweep(ctx, staging, now.Add(-unstaged)))...)
}

// survey lists all artifacts.
func (s *Store) survey(ctx context.Context) (map[string]*holding, cache.Stats, error) {
	holdings := map[string]*holding{}
	stats := cache.Stats{Limit: s.cfg.Size}
	err := s.list(ctx, artifacts, func(o blob.Info) {
		key, name, ok := strings.Cut(strings.TrimPrefix(o.Name, artifacts), "/")
		if !ok || k6x.CheckKey(key) != nil || name != recordTag && k6x.CheckKey(name) != nil {
			return // of another program
		}
		stats.Bytes += o.Size
		h := holdings[key]
		if h == nil {
			h = &holding{}
			holdings[key] = h
		}
		if name == recordTag {
			h.recorded = true
			return
		}
		h.binaries = append(h.binaries, o)
	})
	for _, h := range holdings {
		switch {
		case h.recorded && len(h.binaries) > 0:
			stats.Artifacts++
		case h.recorded:
			stats.Evicted++
		}
	}
	return holdings, stats, err
}

// named returns the digest of the binary that belongs to key, "" if none does.
func (s *Store) named(ctx context.Context, key string, h *holding) (string, error) {
	switch {
	case !h.recorded || len(h.binaries) == 0:
		return "", nil
	case len(h.binaries) == 1:
		return path.Base(h.binaries[0].Name), nil // if it is another, it is found out when there are two
	}
	artifact, err := s.Record(ctx, key)
	return artifact.Digest, err
}

// sweep removes what has a prefix and was not written to since before: leases and notes of services that are gone, objects that they tried their rights with, and
// binaries that were put there for them.
func (s *Store) sweep(ctx context.Context, prefix string, before time.Time) error {
	var old []string
	err := s.list(ctx, prefix, func(o blob.Info) {
		if o.ModTime.Before(before) {
			old = append(old, o.Name)
		}
	})
	for _, name := range old {
		err = errors.Join(err, s.remove(ctx, name))
	}
	return err
}
