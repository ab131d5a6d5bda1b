package buildcache

import (
	"context"
	"errors"

	"k6x"
)

// Push sends all that is in the directory to the far level, into a scope, as if a build of that label had compiled it. It
// returns an error if not all of it arrived.
func (c *Cache) Push(ctx context.Context, scope, label string) (Totals, error) {
	if c.cfg.Far == nil || c.cfg.ReadOnly {
		return Totals{}, k6x.Errorf(k6x.Invalid, "there is no shared build cache that may be written")
	}
	before := c.Stats()
	s, err := c.start(scope, label, false)
	if err != nil {
		return Totals{}, err
	}
	defer s.Close()
	var t Totals
	seen := make(map[ID]bool)
	err = c.near.each(ctx, func(action ID, e Entry) error {
		if e.Size > maxBody {
			return nil
		}
		if !seen[e.Output] {
			seen[e.Output] = true
			t.Outputs++
			t.Bytes += e.Size
		}
		t.Actions++
		select {
		case s.queue <- bound{action, e.Output}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	s.Close()
	select {
	case <-s.sent:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	if after := c.Stats(); err == nil && (after.Dropped != before.Dropped || after.WriteFailures != before.WriteFailures) {
		err = k6x.Errorf(k6x.Unavailable, "not all of the build cache could be sent").
			WithHint("Try again: what was sent is not sent twice.")
	}
	return t, err
}

// Pull brings all that the far level has in a scope into the directory. It returns an error if
// not all of it could be had.
func (c *Cache) Pull(ctx context.Context, scope string) (Totals, error) {
	if c.cfg.Far == nil {
		return Totals{}, k6x.Errorf(k6x.Invalid, "there is no shared build cache")
	}
	s, err := c.start(scope, "", false)
	if err != nil {
		return Totals{}, err
	}
	defer s.Close()
	select {
	case <-s.scope.ready:
	case <-ctx.Done():
		return Totals{}, ctx.Err()
	}
	s.scope.mu.Lock()
	var packs []*pack
	for _, p := range s.scope.packs {
		packs = append(packs, p)
	}
	x := s.scope.merged()
	read := !s.scope.refreshed.IsZero()
	s.scope.mu.Unlock()

	var t Totals
	if err = s.fetchAll(ctx, packs); err == nil && !read {
		err = errLate
	}
	sizes := make(map[ID]int64)
	for _, p := range x.Packs {
		for _, o := range p.Outputs {
			if _, seen := sizes[o.Output]; !seen && c.near.has(o.Output, o.Size) {
				sizes[o.Output] = o.Size
				t.Outputs++
				t.Bytes += o.Size
			}
		}
	}
	for _, b := range x.Actions {
		size, ok := sizes[b.Output]
		if !ok {
			err = errors.Join(err, errAbsent)
			break
		}
		if bindErr := c.near.bind(b.Action, b.Output, size); bindErr != nil {
			return t, bindErr
		}
		t.Actions++
	}
	if err != nil {
		err = k6x.Errorf(k6x.Unavailable, "not all of the shared build cache could be had").
			WithHint("Try again: what is here is not fetched twice.").WithCause(err)
	}
	return t, err
}
